import Testing
import TollgateWire

@testable import TollgateCore

/// RELIABILITY S16 to S19 in the check path: what a key may do, and when it may not.
@Suite struct EngineAPIKeyTests {
    @Test func aKeyStandsForItsUserAndSharesTheCountersOfItsTokens() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add()
        let first = harness.check(key.text)
        #expect(first.isAllowed)
        #expect(first.texts[..<3] == ["ada", "acme", "pro_tier"])
        #expect(harness.check(DirectoryHarness.token()).isAllowed)
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.engine.usage(organization: "acme", user: "ada")["daily_calls"] == 3)
    }

    @Test func everyAlteredCharacterIsRefusedOffline() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add()
        let bytes = Array(key.text.utf8)
        for place in bytes.indices {
            for other in "aZ09_".utf8 where other != bytes[place] {
                var altered = bytes
                altered[place] = other
                let answer = harness.check(String(decoding: altered, as: UTF8.self))
                #expect(
                    answer.reason == .credentialMalformed || place < 3, "place \(place): \(answer)")
                #expect(!answer.isAllowed)
            }
        }
        for cut in 1..<bytes.count {
            #expect(!harness.check(String(decoding: bytes[..<cut], as: UTF8.self)).isAllowed)
        }
        #expect(harness.check(key.text + "0").reason == .credentialMalformed)
        #expect(harness.check(key.text).isAllowed)
    }

    @Test func eachFailureHasItsReasonAndLooksLikeEveryOther() throws {
        for reveals in [true, false] {
            let harness = try DirectoryHarness(.withDirectory(reveals: reveals))
            for (name, text, reason) in try Self.failures(harness) {
                // Twice: the second time some of it might be remembered.
                for round in 1...2 {
                    let answer = harness.check(text)
                    let shown = reveals ? reason : .credentialInvalid
                    #expect(answer.reason == shown, "\(name), \(round): \(answer.reason)")
                    let all = answer.texts.prefix(3)
                    #expect(all == ["", "", ""], "\(name): \(answer.texts)")
                    #expect(answer.retry == 0 && answer.flags == 0, "\(name)")
                }
            }
        }
    }

    private static func failures(
        _ harness: DirectoryHarness
    ) throws -> [(String, String, Reason)] {
        let now = WallTime.start()
        harness.image.put(UserEntry(organization: "acme", id: "eve", isActive: false))
        harness.put("other")
        let known = try harness.add()
        var all: [(String, String, Reason)] = [
            ("unknown", try harness.make().text, .keyUnknown),
            ("wrong secret", try harness.secret(of: known).text, .signatureInvalid),
            ("expired now", try harness.add { $0.expires = now }.text, .tokenExpired),
            ("revoked", try harness.add { $0.isRevoked = true }.text, .credentialRevoked),
            ("of a suspended user", try harness.add("acme", "eve").text, .credentialRevoked),
            ("of nobody", try harness.add("acme", "nobody").text, .credentialRevoked),
            ("of another tenant's user", try harness.add("other", "ada").text, .credentialRevoked),
            ("under a pepper that is gone", try harness.add { $0.pepper = 9 }.text,
                .signatureInvalid),
        ]
        let network = try #require(AddressBlock("192.0.2.0/24"))
        all.append(
            ("elsewhere", try harness.add { $0.addresses = [network] }.text, .addressNotAllowed))
        all.append(("nowhere", try harness.add { $0.addresses = [] }.text, .addressNotAllowed))
        let old = try harness.add()
        var rotated = old.entry
        rotated.digest = try harness.secret(of: old).digest
        harness.image.put(rotated)
        all.append(("rotated out", old.text, .signatureInvalid))
        let late = try harness.add()
        var overlapping = late.entry
        overlapping.digest = try harness.secret(of: late).digest
        overlapping.previous = late.entry.digest
        overlapping.previousPepper = late.entry.pepper
        overlapping.previousUntil = now
        harness.image.put(overlapping)
        all.append(("its overlap over now", late.text, .tokenExpired))
        return all
    }

    @Test func whatTheSubscriptionDoesNotServeIsNoCredentialFailure() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add()
        harness.put("acme", isActive: false)
        let answer = harness.check(key.text)
        #expect(answer.reason == .subscriptionInactive)
        #expect(answer.texts[..<2] == ["ada", "acme"])
        harness.put("acme", isServed: false)
        #expect(harness.check(key.text).reason == .subscriptionInactive)
        harness.put("acme", plan: nil)
        #expect(harness.check(key.text).reason == .subscriptionInactive)
        harness.put("acme", plan: "no_such_plan")
        #expect(harness.check(key.text).reason == .planUnknown)
        harness.put("acme", plan: "free_tier")
        #expect(harness.check(key.text).reason == .permissionDenied)
        harness.put("acme")
        #expect(harness.check(key.text).isAllowed)
    }

    @Test func aKeyMayDoWhatItsPlanAndItsListBothGrant() throws {
        let harness = try DirectoryHarness()
        harness.put("acme", plan: "open_tier")
        let narrow = try harness.add { $0.permissions = ["can_use_gpt4o", "can_fly"] }
        let none = try harness.add { $0.permissions = [] }
        #expect(harness.check(narrow.text).isAllowed)
        #expect(harness.check(narrow.text, "batch").reason == .permissionDenied)
        #expect(harness.check(none.text).reason == .permissionDenied)
        #expect(harness.check(none.text, "models").isAllowed)
        harness.put("acme", plan: "free_tier")
        #expect(harness.check(narrow.text).reason == .permissionDenied)
    }

    @Test func anAddressListHoldsAtEveryUse() throws {
        let harness = try DirectoryHarness()
        let blocks = ["192.0.2.0/24", "2001:db8::/32"].compactMap { AddressBlock($0) }
        let key = try harness.add { $0.addresses = blocks }
        let mapped = [UInt8](repeating: 0, count: 10) + [0xff, 0xff, 192, 0, 2, 9]
        let inside: [[UInt8]] = [
            [192, 0, 2, 7], mapped, [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 1, count: 12),
        ]
        let outside: [[UInt8]] = [
            [192, 0, 3, 7], [], [0x20, 1, 0x0d, 0xb9] + [UInt8](repeating: 1, count: 12),
        ]
        for _ in 1...3 {
            for address in inside { #expect(harness.check(key.text, address: address).isAllowed) }
            for address in outside {
                #expect(harness.check(key.text, address: address).reason == .addressNotAllowed)
            }
        }
    }

    @Test(arguments: [false, true])
    func theOldSecretIsGoodStrictlyBeforeTheOverlapsEnd(isRemembered: Bool) throws {
        for (late, isGood) in [(-1, true), (0, false), (1, false)] {
            let harness = try DirectoryHarness()
            let key = try harness.add { $0.expires = .start(3_600_000) }
            #expect(harness.check(key.text).isAllowed)
            let next = try harness.secret(of: key)
            var entry = key.entry
            (entry.previous, entry.previousPepper) = (entry.digest, entry.pepper)
            entry.previousUntil = .start(60_000)
            entry.digest = next.digest
            harness.image.put(entry)
            if isRemembered {
                #expect(harness.check(key.text).isAllowed && harness.check(next.text).isAllowed)
            }
            harness.engine.advance(milliseconds: UInt64(60_000 + late))
            #expect(harness.check(key.text).isAllowed == isGood, "\(late) ms")
            #expect(harness.check(next.text).isAllowed)
            let used = harness.engine.usage(organization: "acme", user: "ada")["daily_calls"]
            #expect(used == UInt64((isRemembered ? 4 : 2) + (isGood ? 1 : 0)))
        }
    }

    @Test func aKeyEndsAtItsExpiryToTheMillisecond() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add { $0.expires = .start(5_000) }
        #expect(harness.check(key.text).isAllowed)
        harness.engine.advance(milliseconds: 4_999)
        #expect(harness.check(key.text).isAllowed)
        harness.engine.advance(milliseconds: 1)
        #expect(harness.check(key.text).reason == .tokenExpired)
    }

    @Test func aKeyOfAPersonalOrganizationIsItsUsers() throws {
        let harness = try DirectoryHarness()
        harness.put("bob", isPersonal: true)
        harness.image.put(UserEntry(organization: "bob", isPersonal: true, id: "bob"))
        let key = try harness.add("bob", "bob") { $0.isPersonal = true }
        #expect(harness.check(key.text).flags & DecisionFlags.personalOrganization != 0)
        #expect(harness.check(DirectoryHarness.token(user: "bob", organization: nil)).isAllowed)
        // An organization of that name is another tenant, and not there.
        #expect(
            harness.check(DirectoryHarness.token(user: "bob", organization: "bob")).reason
                == .subscriptionInactive)
    }

    @Test func withoutADirectoryKeysAreNotTaken() throws {
        let engine = try EngineHarness(.withDirectory(.claims, unknown: .claims))
        let key = try DirectoryHarness().make()
        #expect(engine.check(key.text).reason == .credentialKindUnsupported)
        #expect(engine.check().isAllowed)
    }

    @Test func aUseIsNotedAtMostOnceAMinute() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add()
        #expect(harness.check(key.text, flags: RequestFlags.dryRun).isAllowed)
        #expect(harness.image.takeUses().isEmpty)
        for _ in 1...3 { #expect(harness.check(key.text).isAllowed) }
        #expect(harness.image.lastUsed(key.entry.id) == .start())
        let noted = NotedUse(id: key.entry.id, organization: "acme", at: .start())
        #expect(harness.image.takeUses() == [noted])
        #expect(harness.image.takeUses().isEmpty)
        harness.engine.advance(milliseconds: 59_999)
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.image.takeUses().isEmpty)
        harness.engine.advance(milliseconds: 1)
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.image.takeUses().map(\.at) == [.start(60_000)])
    }

    @Test func aKeyUnderAnOlderPepperIsMadeAnewWhenItIsSeen() throws {
        let peppers = try [APIKeyTests.pepper(7), APIKeyTests.pepper(8, generation: 2)]
        let harness = try DirectoryHarness(peppers: peppers)
        let key = try harness.make(pepper: peppers[0])
        harness.image.put(key.entry)
        #expect(harness.check(key.text).isAllowed)
        let rehash = try #require(harness.image.takeRehashes().first)
        let digest = try DirectoryHarness.digest(Array(key.text.utf8), peppers[1])
        #expect(rehash.id == key.entry.id && rehash.organization == "acme")
        #expect(rehash.from == key.entry.digest && rehash.to == digest && rehash.pepper == 2)
        var entry = key.entry
        (entry.digest, entry.pepper) = (digest, 2)
        harness.image.put(entry)
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.image.takeRehashes().isEmpty)
    }

    @Test func aRevokedKeyCountsAsAGuessLikeAnyOther() throws {
        var policy = PolicyDefinition.withDirectory()
        policy.invalidCredentialLimit?.limit = 4
        let harness = try DirectoryHarness(policy)
        let key = try harness.add()
        #expect(harness.check(key.text).isAllowed)
        var entry = key.entry
        entry.isRevoked = true
        harness.image.put(entry)
        for _ in 1...4 { #expect(harness.check(key.text).reason == .credentialRevoked) }
        #expect(harness.check(key.text).reason == .invalidCredentialLimited)
    }

    @Test func namesThatAreTooLongAreServedAndNotRemembered() throws {
        let harness = try DirectoryHarness()
        let (organization, user) = (
            String(repeating: "o", count: 255), String(repeating: "u", count: 255)
        )
        harness.put(organization)
        harness.image.put(UserEntry(organization: organization, id: user))
        let key = try harness.add(organization, user)
        for _ in 1...2 { #expect(harness.check(key.text, "models").isAllowed) }
        #expect(harness.engine.worker.cache.current == nil)
    }

    @Test func aKnownKeyIsNotRefusedForOthersGuesses() throws {
        var policy = PolicyDefinition.withDirectory()
        policy.invalidCredentialLimit?.limit = 4
        let harness = try DirectoryHarness(policy)
        let (known, late) = (try harness.add(), try harness.add())
        let token = DirectoryHarness.token()
        #expect(harness.check(known.text).isAllowed && harness.check(token).isAllowed)
        for _ in 1...4 { #expect(harness.check("tg_junk").reason == .credentialMalformed) }
        #expect(harness.check("tg_junk").reason == .invalidCredentialLimited)
        #expect(harness.check(late.text).reason == .invalidCredentialLimited)
        #expect(harness.check(late.text, address: [10, 0, 0, 2]).isAllowed)
        // Also when all have to be looked up anew.
        harness.put("elsewhere")
        #expect(harness.check(known.text).isAllowed && harness.check(token).isAllowed)
    }
}
