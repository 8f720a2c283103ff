import CLinux
import TollgateClient
import TollgateWire

/// Asks the daemon for its statistics, and where that is wanted for its top organizations, one
/// question at a time: who asks while one is under way, or
/// within a tenth of a second after, shares its answer. So however many scrape, and however often,
/// the daemon is asked at most ten times a second.
actor StatisticsSource {
    struct Answer: Sendable {
        var result: Result<[StatisticEntry], ClientError>
        /// `nil`: they are not wanted.
        var top: Result<TopOrganizations, ClientError>?
        /// How long the daemon took.
        var nanoseconds: UInt64
        fileprivate var at: UInt64
    }

    private static let sharedNanoseconds: UInt64 = 100_000_000

    private let client: AsyncClient
    private let wantsTop: Bool
    private var last: Answer?
    private var running: Task<Answer, Never>?

    init(_ client: AsyncClient, wantsTop: Bool) {
        self.client = client
        self.wantsTop = wantsTop
    }

    func ask() async -> Answer {
        if let last, tg_boottime() &- last.at < Self.sharedNanoseconds { return last }
        if let running { return await running.value }
        let (client, wantsTop) = (client, wantsTop)
        let task = Task { () -> Answer in
            let began = tg_boottime()
            let result: Result<[StatisticEntry], ClientError>
            do throws(ClientError) {
                result = .success(try await client.statistics())
            } catch { result = .failure(error) }
            let took = tg_boottime() &- began
            var top: Result<TopOrganizations, ClientError>?
            if wantsTop, case .success = result {
                do throws(ClientError) {
                    let limit = Int64(TopOrganizations.listMax)
                    top = .success(try await client.perform(.top(limit: limit)))
                } catch { top = .failure(error) }
            }
            return Answer(result: result, top: top, nanoseconds: took, at: tg_boottime())
        }
        running = task
        let answer = await task.value
        last = answer
        running = nil
        return answer
    }
}
