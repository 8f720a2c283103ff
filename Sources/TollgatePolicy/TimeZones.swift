import Glibc
import TollgateCore

struct TimeZoneFault: Error { var message: String }

/// Time zones from the system's tz database (TZif, RFC 8536), with the rule that holds after the
/// last recorded transition written out to the year 2100.
package struct TimeZones: Sendable {
    private let directory: String
    private static let yearMax: Int64 = 2_100
    private static let bytesMax = 1 << 20

    package init(directory: String = "/usr/share/zoneinfo") { self.directory = directory }

    /// The zone of that name; `nil` when there is none.
    package func rules(_ name: String) -> ZoneRules? {
        do throws(TimeZoneFault) { return try load(name) } catch { return nil }
    }

    func load(_ name: String) throws(TimeZoneFault) -> ZoneRules {
        if name == "UTC" { return .utc }
        let isPlain = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                || "/_+-".utf8.contains($0)
        }
        guard isPlain, !name.hasPrefix("/"), !name.hasSuffix("/"), name.utf8.count <= 64 else {
            throw TimeZoneFault(message: "\"\(name)\" is not the name of a time zone")
        }
        guard let bytes = Self.read(directory + "/" + name) else {
            throw TimeZoneFault(
                message: "no time zone \"\(name)\" in \(directory); names are like Europe/Berlin"
                    + " (package tzdata)")
        }
        guard let rules = TZif.parse(bytes, name: name, yearMax: Self.yearMax) else {
            throw TimeZoneFault(message: "time zone \"\(name)\": its file is not TZif version 2,"
                    + " or counts leap seconds")
        }
        return rules
    }

    private static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            status.st_size <= bytesMax
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        let got = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        return got == bytes.count ? bytes : nil
    }
}

/// The version 2 part of a TZif file and its footer. A file whose times count leap seconds
/// (`right/…`) is refused: the system's clock does not count them.
enum TZif {
    static func parse(_ bytes: [UInt8], name: String, yearMax: Int64) -> ZoneRules? {
        guard let first = Header(bytes, at: 0), first.version >= 0x32,
            let second = Header(bytes, at: Header.bytes + first.dataBytes(timeBytes: 4)),
            second.leapCount == 0
        else { return nil }
        var at = second.start + Header.bytes
        guard bytes.count >= at + second.dataBytes(timeBytes: 8), second.typeCount > 0 else {
            return nil
        }
        func big(_ at: Int, _ count: Int) -> UInt64 {
            bytes[at..<(at + count)].reduce(0) { $0 << 8 | UInt64($1) }
        }
        let times = (0..<second.timeCount).map { Int64(bitPattern: big(at + 8 * $0, 8)) }
        at += 8 * second.timeCount
        let types = (0..<second.timeCount).map { Int(bytes[at + $0]) }
        at += second.timeCount
        let offsets = (0..<second.typeCount).map {
            Int32(bitPattern: UInt32(truncatingIfNeeded: big(at + 6 * $0, 4)))
        }
        guard types.allSatisfy({ $0 < offsets.count }), times == times.sorted(),
            offsets.allSatisfy({ abs(Int($0)) < 26 * 3_600 })
        else { return nil }
        let footerStart = second.start + Header.bytes + second.dataBytes(timeBytes: 8)
        let footer = bytes[footerStart...].drop { $0 == 0x0a }.prefix { $0 != 0x0a }
        var rules = ZoneRules(
            name: name, transitions: times, offsets: types.map { offsets[$0] },
            firstOffset: offsets[0])
        guard let rule = PosixZone(String(decoding: footer, as: UTF8.self)) else {
            return footer.isEmpty ? rules : nil
        }
        rule.extend(&rules, through: yearMax)
        return rules
    }

    private struct Header {
        static let bytes = 44
        var start: Int
        var version: UInt8
        var counts: [Int]

        init?(_ bytes: [UInt8], at start: Int) {
            guard bytes.count >= start + Self.bytes,
                bytes[start..<(start + 4)].elementsEqual("TZif".utf8)
            else { return nil }
            self.start = start
            version = bytes[start + 4]
            counts = (0..<6).map { index in
                bytes[(start + 20 + 4 * index)..<(start + 24 + 4 * index)]
                    .reduce(0) { $0 << 8 | Int($1) }
            }
            guard counts.allSatisfy({ $0 < 100_000 }) else { return nil }
        }

        var leapCount: Int { counts[2] }
        var timeCount: Int { counts[3] }
        var typeCount: Int { counts[4] }

        func dataBytes(timeBytes: Int) -> Int {
            timeCount * (timeBytes + 1) + typeCount * 6 + counts[5] + counts[2] * (timeBytes + 4)
                + counts[1] + counts[0]
        }
    }
}
