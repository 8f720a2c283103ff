import TollgateCore

/// F3: what decodes is the canonical spelling, and the output fits exactly.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = UnsafeRawBufferPointer(start: data, count: count)
    let room = Base64URL.decodedBytes(count) ?? count
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 1)
    defer { output.deallocate() }
    guard let bytes = Base64URL.decode(text, into: output) else { return 0 }
    precondition(bytes == room)
    precondition(Base64URL.encode(output.prefix(bytes)).elementsEqual(text), "two spellings")
    if bytes > 0 {
        let small = UnsafeMutableRawBufferPointer(rebasing: output.prefix(bytes - 1))
        precondition(Base64URL.decode(text, into: small) == nil)
    }
    return 0
}
