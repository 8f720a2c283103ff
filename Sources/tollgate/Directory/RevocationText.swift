import TollgateWire

/// Revocations in words.
enum RevocationText {
    /// `; its tokens are refused until …`: what the answer's revocation says, if there is one.
    static func until(_ reply: JSONObject) -> String {
        guard let revocation = reply.object("revocation") else { return "" }
        return "; its tokens are refused, and the revocation is kept until "
            + revocation.shown("expires_at")
    }
}
