import TollgateWire

extension DirectoryCall where Answer == TopOrganizations {
    /// Which organizations have the most decisions of late, and who is nearest to the end of a
    /// quota: of each at most `limit`, 1 to 100, and 10 where it is not said. For the role `watch`,
    /// or an admin on the admin socket.
    public static func top(limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.showTop, answering: "top", ["limit": .member(limit)])
    }
}
