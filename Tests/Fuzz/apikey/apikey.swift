@testable import TollgateCore
import TollgateWire

/// F5: any bytes as an API key and as a refresh token: as they are, and with the check digits that
/// make the most of them. What is taken for one is spelled in the one way.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: count))
    look(bytes)
    guard bytes.count >= 6 else { return 0 }
    let head = Array(bytes.dropLast(6))
    look(head + Base62.digits(of: head.withUnsafeBytes { CRC32.checksum($0) }))
    return 0
}

private func look(_ text: [UInt8]) {
    text.withUnsafeBytes { view in
        let allowed = view.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte)
                || (0x61...0x7a).contains(byte) || byte == 0x5f
        }
        if let key = APIKey(view) {
            precondition(allowed && APIKey.isMeant(by: view) && view.count <= APIKey.bytesMax)
            let head = Array("tg_".utf8) + key.environment + [0x5f]
            let again = head + key.id.characters + key.secret
            precondition(again.elementsEqual(view.dropLast(6)))
        }
        if RefreshToken.hash(view) != nil {
            precondition(allowed && view.count == RefreshToken.bytes && !APIKey.isMeant(by: view))
        }
    }
}
