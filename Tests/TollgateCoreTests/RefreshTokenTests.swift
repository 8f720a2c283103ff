import Testing

@testable import TollgateCore

@Suite struct RefreshTokenTests {
    private static func token(_ seed: UInt64) throws -> (text: [UInt8], hash: RefreshTokenHash) {
        var random = SeededRandom(seed: seed)
        let made = try RefreshToken.make { bytes in
            for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &random) }
            return true
        }
        return (made.text.withBytes(Array.init), made.hash)
    }

    @Test func whatIsMadeIsFoundByItsHashAndNothingNearItIs() throws {
        for seed in 0..<4 {
            let (text, hash) = try Self.token(UInt64(seed))
            #expect(text.count == RefreshToken.bytes)
            #expect(text.withUnsafeBytes { RefreshToken.hash($0) } == hash)
            #expect(text.withUnsafeBytes { APIKey($0) == nil && !APIKey.isMeant(by: $0) })
            for place in text.indices {
                let prefix = Array(text[..<place])
                #expect(prefix.withUnsafeBytes { RefreshToken.hash($0) } == nil)
                for byte in UInt8.min...UInt8.max where byte != text[place] {
                    var changed = text
                    changed[place] = byte
                    if changed.withUnsafeBytes({ RefreshToken.hash($0) }) != nil {
                        Issue.record("\(changed) is taken for a token")
                    }
                }
            }
        }
    }

    @Test func theSuccessorIsTheSameOnlyForSameParentSaltAndPepper() throws {
        let pepper = try APIKeyTests.pepper()
        let (parent, parentHash) = try Self.token(1)
        let salt = [UInt8](repeating: 9, count: RefreshToken.saltBytes)
        func successor(
            _ parent: [UInt8], _ salt: [UInt8], _ pepper: APIKeyPepper
        ) throws -> ([UInt8], RefreshTokenHash) {
            try parent.withUnsafeBytes { parent in
                let made = try RefreshToken.successor(of: parent, salt: salt, pepper: pepper)
                return (made.text.withBytes(Array.init), made.hash)
            }
        }
        let (text, hash) = try successor(parent, salt, pepper)
        #expect(text.withUnsafeBytes { RefreshToken.hash($0) } == hash)
        #expect(hash != parentHash)
        #expect(try successor(parent, salt, pepper).0 == text)
        #expect(try successor(Self.token(2).text, salt, pepper).0 != text)
        #expect(try successor(parent, salt.map { $0 ^ 1 }, pepper).0 != text)
        #expect(try successor(parent, salt, APIKeyTests.pepper(8)).0 != text)
    }
}
