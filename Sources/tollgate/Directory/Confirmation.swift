import ArgumentParser
import Glibc

/// For commands that destroy.
struct Confirmation: ParsableArguments {
    @Flag(
        name: .shortAndLong,
        help: "Do it without asking; needed where nobody can be asked, as in scripts.")
    var yes = false

    /// Returns when it may go on. `what` is a question without its mark.
    func confirm(_ what: String) throws {
        if yes { return }
        guard isatty(0) == 1, isatty(2) == 1 else {
            throw Failure(
                .usage, "\(what)? There is no terminal to ask on, so nothing was changed",
                next: "give --yes to do it without being asked")
        }
        Console.printError("\(visible(what))? [y/N] ", isLine: false)
        let answer = readLine()?.lowercased() ?? ""
        guard answer == "y" || answer == "yes" else {
            throw Failure(.notDone, "nothing was changed")
        }
    }
}
