@testable import TollgateCore
import TollgateWire

/// One scanner, used by one thread.
private final class Bench {
    var scanner = JSONScanner(textBytesMax: 6_144)
}

private nonisolated(unsafe) let bench = Bench()

/// F4: any text. Members of an accepted one lie inside the memory, in order, below the ceilings;
/// the text is UTF-8 and ends as it was given.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count <= bench.scanner.textBytesMax else { return 0 }
    let text = UnsafeRawBufferPointer(start: data, count: count)
    bench.scanner.text.copyMemory(from: text)
    guard bench.scanner.scan(textBytes: count) else { return 0 }
    precondition(String(validating: text, as: UTF8.self) != nil, "not UTF-8")
    precondition(bench.scanner.text.prefix(count).elementsEqual(text), "the text was changed")
    precondition(bench.scanner.memberCount <= JSONScanner.membersMax)
    for index in 0..<bench.scanner.memberCount { check(index, count) }
    return 0
}

private func check(_ index: Int, _ count: Int) {
    let member = bench.scanner.members[index]
    precondition(String(validating: bench.scanner.view(member.name), as: UTF8.self) != nil)
    guard member.container == 0 else { return }
    let end = Int(member.value.offset) + Int(member.value.length)
    precondition(member.value.offset > 0 && end < count)
    switch member.kind {
    case .string:
        if let value = bench.scanner.stringValue(member) {
            precondition(String(validating: value, as: UTF8.self) != nil)
        }
    case .array:
        bench.scanner.openArray(member)
        elements: while true {
            switch bench.scanner.nextElement() {
            case .string(let value): precondition(value.count <= member.value.length)
            case .end, .other: break elements
            }
        }
    case .number: _ = NumericDate(bench.scanner.view(member.value))
    default: break
    }
}
