// What a member holds, of the type that `CallName.members` gives it; `nil` when it was left out.
extension DirectoryRequest {
    /// Whether the member is there; with a value, or as a `null` that means none.
    public func has(_ name: String) -> Bool { members[name] != nil }

    /// A name, a text, a word or a secret.
    public func text(_ name: String) -> String? {
        guard case .string(let text)? = members[name] else { return nil }
        return text
    }

    /// A flag.
    public func flag(_ name: String) -> Bool? {
        guard case .bool(let flag)? = members[name] else { return nil }
        return flag
    }

    /// An integer.
    public func integer(_ name: String) -> Int64? {
        guard case .integer(let integer)? = members[name] else { return nil }
        return integer
    }

    /// An instant.
    public func instant(_ name: String) -> Timestamp? {
        integer(name).map { Timestamp(milliseconds: $0) }
    }

    /// One of the words of a list.
    public func choice<T: DirectoryChoice>(_ name: String, _ type: T.Type = T.self) -> T? {
        text(name).flatMap { T(rawValue: $0) }
    }

    /// A list of names.
    public func names(_ name: String) -> [String]? {
        guard case .array(let elements)? = members[name] else { return nil }
        return elements.compactMap { element in
            guard case .string(let text) = element else { return nil }
            return text
        }
    }

    /// The rate of a key.
    public var rate: APIKeyInfo.Rate? {
        get throws(DocumentError) {
            guard let value = members["rate"], value != .null else { return nil }
            return try APIKeyInfo.Rate(json: value)
        }
    }

    /// The records of an import.
    public var records: [ExportedRecord] {
        get throws(DocumentError) {
            guard let value = members["records"] else { return [] }
            return try value.asElements { (record) throws(DocumentError) in
                try ExportedRecord(strictly: record)
            }
        }
    }
}
