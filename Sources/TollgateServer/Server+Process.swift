import CLinux
import Glibc

/// What the daemon's process takes of the host.
extension Server {
    func processStatistics() -> [Statistic] {
        var usage = rusage()
        var processor: UInt64 = 0
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            processor = Self.nanoseconds(usage.ru_utime) &+ Self.nanoseconds(usage.ru_stime)
        }
        var entries = [
            Statistic(
                name: "tollgate_start_timestamp_seconds",
                value: UInt64(max(0, shared.startedWall)) / 1_000, isGauge: true),
            Statistic(
                name: "tollgate_uptime_seconds",
                value: (tg_boottime() &- shared.startedAt) / 1_000_000_000, isGauge: true),
            // Whole numbers: STATS has no others.
            Statistic(
                name: "tollgate_cpu_nanoseconds_total", value: processor, isGauge: false),
            Statistic(
                name: "tollgate_build_info{version=\"\(shared.version)\"}", value: 1,
                isGauge: true),
        ]
        if let bytes = Self.residentBytes() {
            entries.append(
                Statistic(name: "tollgate_resident_memory_bytes", value: bytes, isGauge: true))
        }
        return entries
    }

    private static func nanoseconds(_ time: timeval) -> UInt64 {
        UInt64(max(0, time.tv_sec)) &* 1_000_000_000 &+ UInt64(max(0, time.tv_usec)) &* 1_000
    }

    /// The second number of /proc/self/statm, in pages: proc(5). `nil` where that cannot be read.
    private static func residentBytes() -> UInt64? {
        let file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 128)
        let count = read(file, &bytes, bytes.count)
        guard count > 0 else { return nil }
        let fields = bytes.prefix(count).split(separator: UInt8(ascii: " "))
        guard fields.count > 1, let pages = UInt64(String(decoding: fields[1], as: UTF8.self))
        else { return nil }
        return pages &* UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
    }
}
