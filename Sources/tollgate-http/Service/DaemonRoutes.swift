import Synchronization
import TollgateClient
import TollgateWire

/// What is answered with the help of the daemon, over one connection for all requests.
final class DaemonRoutes: Sendable {
    private let client: AsyncClient
    private let source: StatisticsSource
    private let tally: Tally
    private let log: @Sendable (String) -> Void
    /// How many organizations are named at most.
    private let topOrganizations: Int
    /// Whether it answered last: 0 nothing is known yet, 1 yes, 2 no.
    private let lastSeen = Atomic<UInt8>(0)
    /// The same of its top organizations.
    private let lastTop = Atomic<UInt8>(0)

    init(
        _ client: AsyncClient, _ tally: Tally, topOrganizations: Int,
        log: @escaping @Sendable (String) -> Void
    ) {
        self.client = client
        self.topOrganizations = topOrganizations
        source = StatisticsSource(client, wantsTop: topOrganizations > 0)
        self.tally = tally
        self.log = log
    }

    var routes: [Route] {
        [
            Route(path: "/metrics") { await self.metrics($0) },
            Route(path: "/healthz") { _ in await self.health() },
        ]
    }

    /// One STATS for a scrape, at most. A daemon that gives no answer is an answer too:
    /// `tollgate_up 0` with status 200, as exporters have it, so that alerts tell it from an
    /// exporter that is down.
    private func metrics(_ request: HTTPRequest) async -> HTTPResponse {
        let format = Exposition(accept: request.accept)
        let answer = await source.ask()
        var families: [MetricFamily]
        switch answer.result {
        case .success(let entries):
            let statistics = MetricFamilies(entries)
            let took = seconds(ofNanoseconds: answer.nanoseconds)
            families = [MetricFamily("tollgate_up", .gauge, 1)] + statistics.families
            families += organizations(answer.top)
            families.append(
                MetricFamily("tollgate_http_stats_duration_seconds", .gauge, text: took))
            families.append(
                MetricFamily("tollgate_http_skipped_statistics", .gauge, statistics.skipped))
            note(nil)
        case .failure(let error):
            families = [MetricFamily("tollgate_up", .gauge, 0)]
            note(error)
        }
        return HTTPResponse(
            200, contentType: format.contentType,
            body: format.write(families + tally.families))
    }

    /// Of the organizations that are wanted; nothing where the daemon does not tell.
    private func organizations(
        _ top: Result<TopOrganizations, ClientError>?
    ) -> [MetricFamily] {
        guard let top else { return [] }
        switch top {
        case .success(let top):
            note(top: nil)
            return OrganizationFamilies.families(top, most: topOrganizations)
        case .failure(let error):
            note(top: error)
            return []
        }
    }

    /// Says so once when the daemon does not tell of organizations, and once when it does again.
    private func note(top error: ClientError?) {
        let state: UInt8 = error == nil ? 1 : 2
        let before = lastTop.exchange(state, ordering: .relaxed)
        guard before != state, before != 0 || error != nil else { return }
        guard let error else { return log("the daemon tells of organizations") }
        if case .refused(.forbidden, _) = error {
            log(
                "--top-organizations: \(error); give this process's user the role watch (daemon:"
                    + " roles:), or leave the option out")
        } else {
            log("--top-organizations: \(error)")
        }
    }

    /// Whether the daemon answers.
    private func health() async -> HTTPResponse {
        do throws(ClientError) {
            try await client.ping()
            return HTTPResponse(200, "ok\n")
        } catch { return HTTPResponse(503, "\(error)\n") }
    }

    /// Says so once when the daemon goes, and once when it is back.
    private func note(_ error: ClientError?) {
        let state: UInt8 = error == nil ? 1 : 2
        let before = lastSeen.exchange(state, ordering: .relaxed)
        guard before != state else { return }
        guard let error else { return log("the daemon answers") }
        if case .refused(.forbidden, _) = error {
            log(
                "\(error); --socket is to be its admin socket, and this process's user root, the"
                    + " daemon's own, or one with the role admin; or else this process's user is"
                    + " to have the role observe (daemon: roles:)")
        } else {
            log("\(error); until it does, scrapes have tollgate_up 0")
        }
    }
}
