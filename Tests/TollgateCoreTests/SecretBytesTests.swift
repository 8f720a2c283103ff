import Testing
import TollgateCore

@Suite struct SecretBytesTests {
    @Test func aSecretIsNeverPrinted() {
        let secret = SecretBytes(copying: Array("canary-0123456789-canary-0123456".utf8))
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped] {
            #expect(!text.contains("canary"))
        }
        #expect(secret.withBytes { $0.count } == 32)
    }
}
