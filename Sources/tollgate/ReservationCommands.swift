import ArgumentParser
import TollgateClient
import TollgateWire

struct ReserveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reserve", abstract: "Hold an estimate, to be settled later.",
        discussion: """
            Asks as tollgate check does; --units are the estimate. What is held outlives this \
            command, which prints its id: tollgate settle, cancel or extend take it, and without \
            them it ends by itself after --for. Exit code 0: held; 2: denied.
            """)

    @OptionGroup var options: DataOptions
    @OptionGroup var question: QuestionOptions
    @Option(
        name: .customLong("for"), help: "How long to hold it, as 30s or 5m (default: the plan's).")
    var length: String?
    @Flag(name: .customLong("dry-run"), help: "Decide, and hold nothing.") var dryRun = false
    @Flag(help: "Show every limit that was looked at.") var explain = false

    func validate() throws { _ = try Input.timeToLive(length) }

    func run() throws {
        // This connection ends with the command: what is tied to it would end at once.
        let request = ReservationRequest(
            try question.read(isDryRun: dryRun, explains: explain, of: "tollgate reserve"),
            timeToLiveMilliseconds: try Input.timeToLive(length), isDetached: true)
        let decision = try options.ask { (client) throws(ClientError) in
            try client.reserve(request)
        }
        let view = DecisionView(decision, options.output, explains: explain)
        try options.output.print(view.json, view.text)
        question.explainMissing(decision, options.output)
        if !decision.isAllowed { throw ExitCode(2) }
    }
}

/// What extend, settle and cancel have in common.
struct ReservationOptions: ParsableArguments {
    @OptionGroup var options: DataOptions
    @Argument(help: "The reservation: 32 hexadecimal digits, as tollgate reserve prints them.")
    var reservation: String
    @Flag(help: "Show every limit that was looked at.") var explain = false

    func validate() throws { _ = try id() }

    private func id() throws -> ReservationID {
        guard let id = ReservationID(hexadecimal: reservation) else {
            throw ValidationError(
                "a reservation is 32 hexadecimal digits, not \"\(reservation)\"")
        }
        return id
    }

    /// Asks, prints the decision, and throws the exit code of a denial.
    func run(
        _ work: (BlockingClient, ReservationID) throws(ClientError) -> CheckDecision
    ) throws {
        let id = try id()
        let decision: CheckDecision
        do {
            decision = try options.ask { (client) throws(ClientError) in try work(client, id) }
        } catch var failure as Failure {
            if failure.status == .notFound {
                failure.next = "it ended a while ago, or never was: tollgate reserve makes one"
            }
            throw failure
        }
        let view = DecisionView(decision, options.output, explains: explain)
        try options.output.print(view.json, view.text)
        if !decision.isAllowed { throw ExitCode(2) }
    }
}

struct ExtendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "extend", abstract: "Ask whether work under a reservation may go on.",
        discussion: """
            Exit code 0: go on; 2: stop, and settle; 1: it has ended, or is not known. Its time \
            begins anew.
            """)

    @OptionGroup var held: ReservationOptions
    @Option(name: .shortAndLong, help: "Units to hold in all: tokens=1000. Repeatable.")
    var units: [String] = []
    @Option(help: "Units used so far: tokens=450. Repeatable.") var used: [String] = []
    @Option(
        name: .customLong("for"),
        help: "For how long from now, as 30s or 5m (default: as before).")
    var length: String?

    func validate() throws {
        _ = try meters()
        _ = try Input.timeToLive(length)
    }

    /// A meter that is only named as used is held as far as it is used.
    private func meters() throws -> [HeldUnits] {
        let held = try units.map(Input.units)
        let used = try used.map(Input.units)
        var meters = held.map { HeldUnits($0.meter, $0.units) }
        for one in used {
            if let place = meters.firstIndex(where: { $0.meter == one.meter }) {
                meters[place].used = one.units
            } else {
                meters.append(HeldUnits(one.meter, one.units, used: one.units))
            }
        }
        return meters
    }

    func run() throws {
        let meters = try meters()
        let time = try Input.timeToLive(length)
        try held.run { (client, id) throws(ClientError) in
            try client.extend(
                id, meters, timeToLiveMilliseconds: time, explains: held.explain)
        }
    }
}

struct SettleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "settle", abstract: "End a reservation with what was used.",
        discussion: "A meter that is not named settles at its estimate.")

    @OptionGroup var held: ReservationOptions
    @Option(name: .shortAndLong, help: "Units used: tokens=731. Repeatable.")
    var units: [String] = []

    func validate() throws { _ = try units.map(Input.units) }

    func run() throws {
        let meters = try units.map(Input.units)
        try held.run { (client, id) throws(ClientError) in
            try client.settle(id, meters, explains: held.explain)
        }
    }
}

struct CancelCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel", abstract: "End a reservation of which nothing is to be charged.")

    @OptionGroup var held: ReservationOptions

    func run() throws {
        try held.run { (client, id) throws(ClientError) in
            try client.cancel(id, explains: held.explain)
        }
    }
}

extension Input {
    /// Milliseconds; 0 where nothing was given.
    fileprivate static func timeToLive(_ text: String?) throws -> UInt32 {
        guard let text else { return 0 }
        let seconds = try Lengths.seconds(text)
        guard seconds > 0, let milliseconds = UInt32(exactly: seconds * 1_000) else {
            throw ValidationError("a reservation is held for 1s to 49d, not \"\(text)\"")
        }
        return milliseconds
    }
}
