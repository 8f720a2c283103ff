import ArgumentParser
import TollgateWire

struct SigningKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "signing-key", abstract: "Keys that sign the daemon's own access tokens.",
        discussion: """
            One key signs; others verify tokens that they signed before, or wait to sign. tollgate \
            signing-key rotate goes through all of it in order.
            """,
        subcommands: [
            SigningKeyRotate.self, SigningKeyAdd.self, SigningKeyPromote.self,
            SigningKeyRetire.self, SigningKeyList.self,
        ])
}

struct SigningKeyAdd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Have the daemon make a key, which verifies at first.",
        discussion: "Its secret stays in a file of the daemon's.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "Its id, the \"kid\" of tokens; default: made by the daemon.") var id: String?

    func run() throws {
        try options.show(
            .addSigningKey, ["id": .optional(id)], "signing_key", .signingKey)
    }
}

struct SigningKeyPromote: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Sign with this key from now on.",
        discussion: "The key that signed before goes on verifying what it signed.")
    @OptionGroup var options: AdminOptions
    @Argument(help: "The key's id.") var id: String

    func run() throws {
        try options.show(
            .promoteSigningKey, ["id": .string(id)], "signing_key", .signingKey)
    }
}

struct SigningKeyRetire: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retire", abstract: "Verify nothing with this key any more.",
        discussion: """
            The daemon refuses while a token that it signed can be alive, and says until when. \
            Asks first, unless --yes is given.
            """)
    @OptionGroup var options: AdminOptions
    @Argument(help: "The key's id.") var id: String
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        try confirmation.confirm("retire signing key \(id), for good")
        do {
            try options.show(
                .retireSigningKey, ["id": .string(id)], "signing_key", .signingKey)
        } catch var failure as Failure where failure.status == .conflict {
            if let instant = retirableAt() {
                failure.next = "it can be retired from \(Times.shown(instant))"
                failure.members.append(("retirable_at", .count(instant)))
            }
            throw failure
        }
    }

    private func retirableAt() -> Int64? {
        do {
            return try options.signingKeys().first { $0.string("id") == id }?
                .integer("retirable_at")
        } catch { return nil }  // The refusal is what counts.
    }
}

struct SigningKeyList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the signing keys and what each is for.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .signingKey)
        try printer.print(.listSigningKeys)
    }
}

extension AdminOptions {
    fileprivate func signingKeys() throws -> [JSONObject] {
        var keys: [JSONObject] = []
        try parts(.listSigningKeys) { items, _ in keys += items }
        return keys
    }
}

struct SigningKeyRotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Sign with a new key, and say when the old one may be retired.",
        discussion: """
            Adds a key, waits until the daemon verifies with it, then promotes it: no token that \
            is alive is refused at any time. Run again after an interruption, it goes on with the \
            key that it added.
            """)
    @OptionGroup var options: AdminOptions
    @Argument(help: "The new key's id; default: made by the daemon.") var id: String?

    func run() throws {
        let client = options.client
        let before = try options.signingKeys()
        let waiting = before.first {
            $0.string("state") == "verifying" && (id == nil || $0.string("id") == id)
        }
        let added: String
        if let waiting {
            added = try waiting.required("id", JSONObject.string)
            say("1. signing key \(added) was added before and never signed: going on with it")
        } else {
            let reply = try options.call(.addSigningKey, ["id": .optional(id)], on: client)
            added = try reply.required("signing_key", JSONObject.object)
                .required("id", JSONObject.string)
            say("1. added signing key \(added)")
        }
        // The daemon answers when it verifies with the key; that is looked at, not believed.
        guard try options.signingKeys().contains(where: {
            $0.string("id") == added && $0.string("state") == "verifying"
        }) else {
            throw Failure(
                .unexpected, "the daemon does not verify with signing key \(added)",
                next: "look at tollgate signing-key list and at the daemon's log, then try again")
        }
        say("2. the daemon verifies with it")
        _ = try options.call(.promoteSigningKey, ["id": .string(added)], on: client)
        say("3. tokens are signed with \(added) from now on")
        try tell(added)
    }

    private func say(_ step: String) {
        if !options.output.json { Console.printError(visible(step)) }
    }

    /// What is left to do, which takes as long as tokens live.
    private func tell(_ added: String) throws {
        let old = try options.signingKeys().filter { $0.string("state") == "retiring" }
        let lines = old.map { key -> String in
            let id = key.shown("id")
            return "signing key \(id) verifies until its last token has expired: retire it from"
                + " \(key.shown("retirable_at")) with\n  tollgate signing-key retire "
                + (id.hasPrefix("-") ? "-- " : "") + id
        }
        let retirable = old.map { key in
            JSON.object([
                ("id", .text(key.shown("id"))),
                ("retirable_at", .optional(key.integer("retirable_at"))),
            ])
        }
        try options.output.print(
            .object([("signing_key", .text(added)), ("to_retire", .list(retirable))]),
            lines.isEmpty
                ? "there is no older key to retire" : visible(lines.joined(separator: "\n")))
    }
}
