import CLinux
import COpenSSL
import TollgateClient
import TollgateCore
import TollgateWire

/// Fills a daemon's directory over its admin socket: the workload's organizations and users, each
/// user with an API key, and further users with keys that nobody calls with.
struct DirectoryFill {
    let admin: String
    let pepper: APIKeyPepper

    /// Records of one call: a frame holds them.
    private static let recordsMax = 120

    /// The texts of the workload's keys, by user. `count`: users and keys in all.
    func keys(count: Int) throws -> [String] {
        let client = BlockingClient(path: admin, timeoutMilliseconds: 60_000)
        let now = Timestamp(milliseconds: tg_walltime())
        let organizations = (0..<Workload.organizations).map { index in
            ExportedRecord.organization(
                Organization(
                    id: Workload.organization(index), name: "organization", isPersonal: false,
                    status: .active, createdAt: now,
                    subscription: Subscription(
                        plan: "pro_tier", status: .active, anchorAt: now, timeZone: "UTC",
                        sinceAt: now, pending: nil)))
        }
        try send(organizations, client)
        var texts: [String] = []
        for start in stride(from: 0, to: max(count, Workload.users), by: 50) {
            var records: [ExportedRecord] = []
            let made = try (start..<(start + 50)).map { try key($0, now) }
            records += (start..<(start + 50)).map { .user(user($0, now)) }
            records += made.map { .key($0.record) }
            try send(records, client)
            if start < Workload.users { texts += made.map(\.text) }
        }
        return texts
    }

    private func user(_ index: Int, _ now: Timestamp) -> User {
        User(
            organization: Workload.organization(index), id: Workload.user(index), name: "user",
            role: .member, status: .active, createdAt: now)
    }

    private func key(_ index: Int, _ now: Timestamp) throws -> (text: String, record: ExportedKey) {
        let (id, text) = try APIKey.make(environment: "bench") { bytes in
            guard let base = bytes.baseAddress else { return false }
            return tg_random(base.assumingMemoryBound(to: UInt8.self), bytes.count) == 1
        }
        let digest = text.withBytes { bytes in
            APIKey(bytes).map { pepper.digest(of: $0).withBytes(Array.init) } ?? []
        }
        let info = APIKeyInfo(
            organization: Workload.organization(index), id: id.description,
            prefix: APIKey.shownPrefix(environment: "bench", id: id), user: Workload.user(index),
            name: "key", environment: "bench", creator: "bench", createdAt: now, lastUsedAt: nil,
            expiresAt: nil, revokedAt: nil, state: .active, rotatingUntilAt: nil,
            permissions: nil, addresses: nil, rate: nil, pepper: pepper.generation)
        let hex = digest.map { byte in
            String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
        }
        return (
            text.withBytes { String(decoding: $0, as: UTF8.self) },
            ExportedKey(
                key: info, digest: SecretText(hex.joined()), previousDigest: nil,
                previousPepper: nil)
        )
    }

    private func send(_ records: [ExportedRecord], _ client: BlockingClient) throws {
        for start in stride(from: 0, to: records.count, by: Self.recordsMax) {
            let end = min(start + Self.recordsMax, records.count)
            _ = try client.perform(.importDirectory(Array(records[start..<end])))
        }
    }
}
