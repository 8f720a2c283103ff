/// F0: a planted trap. A fuzzer that does not find it finds nothing else either.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    if count >= 4, bytes[0] == 0x54, bytes[1] == 0x4f, bytes[2] == 0x4c, bytes[3] == 0x4c {
        fatalError("the canary was found")
    }
    return 0
}
