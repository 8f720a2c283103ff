import TollgateWire

/// F11: any bytes as the body of a CALL. What is taken for a request is written and read again as
/// the same; what is not has words that are short and hold nothing of it but names of members.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    do throws(DirectoryRequest.Fault) {
        let request = try DirectoryRequest(reading: bytes)
        let again = try DirectoryRequest(reading: request.body)
        precondition(again == request, "\(request.call)")
    } catch {
        precondition("\(error)".utf8.count <= WireLimits.detailBytesMax)
    }
    return 0
}

extension DirectoryRequest {
    fileprivate init(reading body: [UInt8]) throws(Fault) {
        let read = body.withUnsafeBytes { bytes -> Result<DirectoryRequest, Fault> in
            do throws(Fault) { return .success(try DirectoryRequest(reading: bytes)) } catch {
                return .failure(error)
            }
        }
        self = try read.get()
    }
}
