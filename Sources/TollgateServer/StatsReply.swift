import TollgateCore
import TollgateWire

/// The body of STATS' reply: as many numbers as fit, from the first on. The first of all says how
/// many do not, so that nobody takes what is missing for 0.
enum StatsReply {
    private static let nameBytesMax = 255
    private static let leftOutName = Array("tollgate_stats_left_out".utf8)

    /// `reply` has room for `bytesMax` bytes.
    static func write(
        _ entries: [Statistic], to reply: UnsafeMutableRawBufferPointer,
        bytesMax: Int = DecisionWorker.replyBytesMax
    ) -> Outcome {
        var end = 4
        func put(_ name: [UInt8], _ value: UInt64, isGauge: Bool) {
            reply[end] = isGauge ? 2 : 1
            reply[end + 1] = UInt8(name.count)
            reply.storeLittle(value, at: end + 2)
            name.withUnsafeBytes { reply.copy($0, to: end + BodyBytes.statsEntry) }
            end += BodyBytes.statsEntry + name.count
        }
        let countAt = end + 2
        put(leftOutName, 0, isGauge: true)
        var written = 0
        for entry in entries {
            let name = Array(entry.name.utf8)
            // One that is too long has no place of its own; those behind it may.
            guard name.count <= nameBytesMax else { continue }
            guard end + BodyBytes.statsEntry + name.count <= bytesMax else { break }
            put(name, entry.value, isGauge: entry.isGauge)
            written += 1
        }
        reply.storeLittle(UInt32(written + 1), at: 0)
        reply.storeLittle(UInt64(entries.count - written), at: countAt)
        return Outcome(status: .ok, bytes: end)
    }
}
