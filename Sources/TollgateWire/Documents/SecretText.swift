/// A secret that is shown once: an API key, an access token, a refresh token. It prints as
/// `(secret)`, whether alone or inside of a document, and is had only by asking for it.
public struct SecretText: Sendable, Equatable, CustomStringConvertible,
    CustomDebugStringConvertible, CustomReflectable
{
    private let text: String

    /// Takes the secret in.
    public init(_ text: String) { self.text = text }

    /// The secret itself. Whoever asks for it keeps it out of logs, errors and arguments.
    public func revealed() -> String { text }

    /// Never the secret.
    public var description: String { "(secret)" }
    /// Never the secret.
    public var debugDescription: String { "(secret)" }
    /// Without children, so that `dump` finds nothing either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
