import TollgateCore
import TollgateStorage
import TollgateWire

/// The members of a call, which are known, there where they must be, and of their types: what they
/// mean to the directory.
struct CallArguments {
    let request: DirectoryRequest

    init(_ request: DirectoryRequest) { self.request = request }

    /// Whether the member stands there, be it as a `null` that means none.
    func has(_ name: String) -> Bool { request.has(name) }

    func optionalText(_ name: String) -> String? { request.text(name) }

    /// The catalogue of calls sees to it that it is there.
    func text(_ name: String) throws(DirectoryError) -> String {
        guard let text = request.text(name) else {
            throw .invalid(field: name, why: "is missing")
        }
        return text
    }

    func optionalID<ID: DirectoryIdentifier>(_ name: String, _: ID.Type = ID.self) -> ID? {
        request.text(name).map { ID(unchecked: $0) }
    }

    func id<ID: DirectoryIdentifier>(
        _ name: String, _: ID.Type = ID.self
    ) throws(DirectoryError) -> ID {
        ID(unchecked: try text(name))
    }

    var organization: OrganizationID {
        get throws(DirectoryError) { try id("organization") }
    }

    var user: UserID {
        get throws(DirectoryError) { try id("user") }
    }

    /// What cannot be a key's id is as unknown as one that is not there.
    var key: APIKeyID {
        get throws(DirectoryError) {
            guard let id = APIKeyID(try text("key")) else { throw .notFound }
            return id
        }
    }

    func word<Word: RawRepresentable<String>>(_ name: String, _: Word.Type = Word.self) -> Word? {
        request.text(name).flatMap { Word(rawValue: $0) }
    }

    func names(_ name: String) -> [String]? { request.names(name) }
    func integer(_ name: String) -> Int64? { request.integer(name) }
    func flag(_ name: String) -> Bool { request.flag(name) ?? false }

    /// `nil` when it is not said.
    func optionalFlag(_ name: String) -> Bool? { request.flag(name) }

    func time(_ name: String) -> WallTime? {
        request.integer(name).map { WallTime(milliseconds: $0) }
    }

    /// The part of a list that is asked for, as the reply that carries it.
    func list<Item: Sendable, Document: DirectoryDocument>(
        _ fetch: (_ after: String?, _ limit: Int) throws(DirectoryError) -> Page<Item>,
        _ document: (Item) throws(DirectoryError) -> Document
    ) throws(DirectoryError) -> JSONValue {
        let limit = Int(clamping: integer("limit") ?? 100)
        let after = try ListCursor.read(optionalText("after"))
        var page = try page(after, limit, fetch)
        var items: [Document] = []
        var bytes = 0
        for item in page.items {
            let made = try document(item)
            bytes += made.json.bytes.count + 1
            guard items.isEmpty || bytes <= CallReply.listBytesMax else { break }
            items.append(made)
        }
        if items.count < page.items.count {
            // As many as fit a frame: asked again for these, the store says where the next begins.
            page = try self.page(after, items.count, fetch)
        }
        return DirectoryPage(items: items, next: page.next.map(ListCursor.text)).json
    }

    /// What the store calls a cursor is the member `after`.
    private func page<Item: Sendable>(
        _ after: String?, _ limit: Int,
        _ fetch: (_ after: String?, _ limit: Int) throws(DirectoryError) -> Page<Item>
    ) throws(DirectoryError) -> Page<Item> {
        do throws(DirectoryError) { return try fetch(after, limit) } catch {
            if case .invalid("cursor", let why) = error { throw .invalid(field: "after", why: why) }
            throw error
        }
    }
}

/// Cursors as they leave the daemon: the store's parts its own with line feeds, which no member of
/// a call may hold, and names may hold anything else. In base64url they go through shells too, and
/// begin with no `-`, for no first byte of UTF-8 does.
enum ListCursor {
    static func text(_ cursor: String) -> String {
        String(decoding: Base64URL.encode(cursor.utf8), as: UTF8.self)
    }

    static func read(_ text: String?) throws(DirectoryError) -> String? {
        guard let text else { return nil }
        var decoded = [UInt8](repeating: 0, count: text.utf8.count)
        let count = Array(text.utf8).withUnsafeBytes { source in
            decoded.withUnsafeMutableBytes { Base64URL.decode(source, into: $0) }
        }
        guard let count, let cursor = String(validating: decoded.prefix(count), as: UTF8.self)
        else { throw .invalid(field: "after", why: "is no cursor of a list") }
        return cursor
    }
}

extension CallReply {
    /// A body that fits the largest frame.
    static let bytesMax = WireLimits.lengthMax - WireLimits.lengthMin
    /// Of the items of a list, so that with the rest the body fits.
    static let listBytesMax = bytesMax - 1_024
}
