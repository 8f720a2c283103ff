import TollgateWire

extension DirectoryCall where Answer == IssuedTokens {
    /// Logs a user in, whom the caller has recognised: a new session. `permissions` narrows what
    /// the access token grants.
    public static func issueTokens(
        organization: String, user: String, permissions: [String]? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .issueTokens,
            [
                "organization": .string(organization), "user": .string(user),
                "permissions": .member(permissions),
            ])
    }

    /// New tokens for a refresh token, which is good once. Refused with `refreshRefused`: the user
    /// has to log in again. Where the answer was lost, ask once more within the grace of the policy
    /// (10 s if not set): the same tokens come back. Later a repeated token ends the session.
    public static func refreshTokens(_ refreshToken: SecretText) -> DirectoryCall {
        DirectoryCall(
            .refreshTokens, ["refresh_token": .string(refreshToken.revealed())])
    }
}

extension DirectoryCall where Answer == Session {
    /// Logs out.
    public static func endSession(_ refreshToken: SecretText) -> DirectoryCall {
        DirectoryCall(
            .endSession, answering: "session",
            ["refresh_token": .string(refreshToken.revealed())])
    }

    /// The session as it is.
    public static func session(_ id: String, organization: String) -> DirectoryCall {
        DirectoryCall(
            .showSession, answering: "session",
            ["organization": .string(organization), "session": .string(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<Session> {
    /// The sessions of a user, part by part.
    public static func sessions(
        organization: String, user: String, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listSessions,
            [
                "organization": .string(organization), "user": .string(user),
                "after": .member(after), "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == SessionRevocation {
    /// Ends a session, and refuses its access tokens.
    public static func revokeSession(_ id: String, organization: String) -> DirectoryCall {
        DirectoryCall(
            .revokeSession, ["organization": .string(organization), "session": .string(id)])
    }
}
