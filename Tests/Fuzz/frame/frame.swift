@testable import TollgateCore
import TollgateWire

/// F1: the frame header and the bodies that take strings, on any bytes. What is taken apart lies
/// inside the body, and its parts do not overlap.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    if count >= WireLimits.headerBytes {
        let header = FrameHeader(reading: bytes)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 1)
        header.write(to: room)
        precondition(room.elementsEqual(bytes.prefix(16)), "a header reads as it was written")
        room.deallocate()
    }
    if let request = try? CheckRequest(decoding: bytes) {
        precondition(request.metersOffset <= count && request.meterCount <= WireLimits.metersMax)
        let strings = request.credential.count + request.method.count + request.operation.count
        precondition(strings + BodyBytes.checkRequest == request.metersOffset)
        touch(request.address, request.credential, request.method, request.operation)
    }
    if let request = try? SubjectRequest.consume(bytes) { check(request, count) }
    if let request = try? SubjectRequest.usage(bytes) { check(request, count) }
    return 0
}

private func check(_ request: SubjectRequest, _ count: Int) {
    precondition(request.metersOffset <= count)
    touch(request.organization, request.user, request.plan, request.operation)
}

/// Reads every byte, for the address sanitizer to judge.
private func touch(_ views: UnsafeRawBufferPointer...) {
    var sum: UInt8 = 0
    for view in views { for byte in view { sum &+= byte } }
    precondition(sum <= 255)
}
