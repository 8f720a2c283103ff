import CSQLite
import Glibc
import TollgateCore
import TollgateWire

/// What a statement takes.
enum SQLiteValue {
    case null
    case integer(Int64)
    case text(String)
    case bytes([UInt8])
}

/// A prepared statement. Used by the thread that owns its database, one use at a time.
final class Statement {
    private unowned let database: Database
    private let handle: OpaquePointer

    init(_ sql: String, in database: Database, handle connection: OpaquePointer)
        throws(StorageFault)
    {
        var made: OpaquePointer?
        let code = sqlite3_prepare_v3(
            connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil)
        guard code == SQLITE_OK, let made else { throw database.fault(code) }
        self.database = database
        handle = made
    }

    deinit { sqlite3_finalize(handle) }

    /// As many values as the statement has parameters (trapped).
    func bind(_ values: [SQLiteValue]) throws(StorageFault) {
        precondition(sqlite3_bind_parameter_count(handle) == Int32(values.count))
        for (offset, value) in values.enumerated() {
            let index = Int32(offset) + 1
            let code: Int32
            switch value {
            case .null: code = sqlite3_bind_null(handle, index)
            case .integer(let number): code = sqlite3_bind_int64(handle, index, number)
            case .text(var text):
                code = text.withUTF8 { bytes in
                    bytes.withMemoryRebound(to: CChar.self) {
                        tg_bind_text(handle, index, $0.baseAddress ?? Self.nothing, Int32($0.count))
                    }
                }
            case .bytes(let bytes):
                code = tg_bind_blob(handle, index, bytes, Int32(bytes.count))
            }
            guard code == SQLITE_OK else { throw database.fault(code) }
        }
    }

    /// A null pointer would bind NULL.
    private nonisolated(unsafe) static let nothing = UnsafePointer(
        UnsafeMutablePointer<CChar>.allocate(capacity: 1))

    /// Whether there is a row.
    func step() throws(StorageFault) -> Bool {
        let code = sqlite3_step(handle)
        switch code {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw database.fault(code)
        }
    }

    func reset() {
        // The code is that of the step before, which was thrown then.
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
    }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func text(_ column: Int32) -> String {
        guard let start = sqlite3_column_text(handle, column) else { return "" }
        let count = Int(sqlite3_column_bytes(handle, column))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    /// An id or another name: 1 to 128 bytes, as everywhere. What is longer was not written by us,
    /// and has no room where names are kept.
    func name(_ column: Int32) throws(StorageFault) -> String {
        guard (1...WireLimits.identifierBytesMax).contains(withBytes(column) { $0.count }) else {
            throw damaged("a name")
        }
        return text(column)
    }

    func isEmpty(_ column: Int32) -> Bool { withBytes(column) { $0.count } == 0 }

    /// Whether the text of a column is this one, byte for byte.
    func isText(_ column: Int32, _ text: String) -> Bool {
        var text = text
        return withBytes(column) { bytes in
            text.withUTF8 { wanted in
                guard wanted.count == bytes.count else { return false }
                guard let one = wanted.baseAddress, let other = bytes.baseAddress else {
                    return true
                }
                return memcmp(one, other, wanted.count) == 0
            }
        }
    }

    /// Lends the bytes of a column until the next step.
    func withBytes<R>(_ column: Int32, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        let start = sqlite3_column_blob(handle, column)
        return body(
            UnsafeRawBufferPointer(
                start: start, count: start == nil ? 0 : Int(sqlite3_column_bytes(handle, column))))
    }

    /// What the row holds is nothing that was written: told from another tenant's or a missing one.
    func damaged(_ what: String) -> StorageFault {
        StorageFault(
            kind: .damaged, path: database.path, code: 0,
            words: "\(what) is not what was written; put a backup in its place")
    }
}
