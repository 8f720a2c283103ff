import Foundation
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

@Suite struct PolicyLoaderTests {
    @Test func theReferencePolicyLoadsAndMeansWhatItSays() throws {
        let directory = try PolicyDirectory()
        let loaded = try directory.load(directory.reference)
        let policy = loaded.definition
        #expect(policy.plans.map(\.name) == ["free_tier", "pro_tier", "enterprise_tier"])
        #expect(policy.plans[1].permissions == ["can_use_gpt4o"])
        #expect(policy.plans[0].rateLimits[1].windowNanoseconds == 60_000_000_000)
        #expect(policy.plans[0].quotas[1].limit == 100_000)
        #expect(policy.operations[0].charges[1].weight == 10)
        #expect(policy.issuers[0].keys[0].keyID == "main-1" && policy.issuers[0].leewaySeconds == 5)
        #expect(policy.invalidCredentialLimit?.limit == 20)
        #expect(loaded.daemon == DaemonSettings())
    }

    @Test func zonesModesAndSubBucketsArriveAsTheyAreWritten() throws {
        let directory = try PolicyDirectory()
        var text = String(decoding: directory.reference, as: UTF8.self)
        text = text.replacingOccurrences(
            of: "time_zone: UTC\n\n", with: "time_zone: Asia/Tokyo\n\n")
        let policy = try directory.load(Array(text.utf8)).definition
        #expect(policy.timeZone.name == "Asia/Tokyo")
        let pro = policy.plans[1].rateLimits
        #expect(pro.first { $0.name == "organization_tokens_per_minute" }?.mode == .smooth)
        #expect(pro.first { $0.name == "per_minute" }?.mode == .strict)
        #expect(pro.allSatisfy { $0.subBuckets == RateLimitDefinition.subBucketsDefault })
        let image = try PolicyImage(compiling: policy, generation: 1)
        #expect(image.timeZone.name == "Asia/Tokyo")
        #expect(image.calendars.allSatisfy { $0.zone == nil })
        #expect(image.shapes.contains { $0.mode == .smooth })
    }

    @Test func aPermissionNearlyOneThatIsNeededIsRefusedWithItsPlace() throws {
        let directory = try PolicyDirectory()
        let text = String(decoding: directory.reference, as: UTF8.self)
            .replacingOccurrences(of: "[can_use_gpt4o, can_ac", with: "[can_ac")
            .replacingOccurrences(of: "[can_use_gpt4o]", with: "[can_use_gtp4o]")
        do throws(PolicyErrors) {
            _ = try directory.load(Array(text.utf8))
            Issue.record("loaded")
        } catch {
            #expect(error.errors.count == 1 && (error.errors.first?.line ?? 0) > 50)
            #expect(
                error.errors.first?.message.hasSuffix(
                    "no operation needs the permission \"can_use_gtp4o\" (did you mean"
                        + " can_use_gpt4o?)") == true)
        }
    }

    @Test(arguments: 1...4) func mutantsOfTheReferenceNeverTrapAndNeverLoadSilentlyWrong(
        seed: UInt64
    ) throws {
        let directory = try PolicyDirectory()
        var random = SystemlessRandom(state: seed)
        for _ in 0..<500 {
            var mutant = directory.reference
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<mutant.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: mutant[at] = .random(in: 0...255, using: &random)
                case 1: mutant.remove(at: at)
                case 2: mutant.insert(.random(in: 9...126, using: &random), at: at)
                default: mutant.removeLast(min(mutant.count - 1, at / 4))
                }
            }
            do { _ = try directory.load(mutant) } catch {
                #expect(!error.errors.isEmpty && error.errors.allSatisfy { !$0.message.isEmpty })
            }
        }
    }
}

struct SystemlessRandom: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ (state >> 29)
    }
}
