import CLinux
import TollgateClient

/// Asks the daemon for its statistics, one question at a time: who asks while one is under way, or
/// within a tenth of a second after, shares its answer. So however many scrape, and however often,
/// the daemon is asked at most ten times a second.
actor StatisticsSource {
    struct Answer: Sendable {
        var result: Result<[StatisticEntry], ClientError>
        /// How long the daemon took.
        var nanoseconds: UInt64
        fileprivate var at: UInt64
    }

    private static let sharedNanoseconds: UInt64 = 100_000_000

    private let client: AsyncClient
    private var last: Answer?
    private var running: Task<Answer, Never>?

    init(_ client: AsyncClient) { self.client = client }

    func ask() async -> Answer {
        if let last, tg_boottime() &- last.at < Self.sharedNanoseconds { return last }
        if let running { return await running.value }
        let client = client
        let task = Task { () -> Answer in
            let began = tg_boottime()
            let result: Result<[StatisticEntry], ClientError>
            do throws(ClientError) {
                result = .success(try await client.statistics())
            } catch { result = .failure(error) }
            let ended = tg_boottime()
            return Answer(result: result, nanoseconds: ended &- began, at: ended)
        }
        running = task
        let answer = await task.value
        last = answer
        running = nil
        return answer
    }
}
