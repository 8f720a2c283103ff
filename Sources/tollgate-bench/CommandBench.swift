import CLinux
import Glibc

/// How long a command takes, and its memory at most; what it prints goes nowhere.
struct CommandBench {
    struct Run {
        var seconds: Double
        /// Resident at most.
        var megabytes: Double
        var exitCode: Int32
    }

    let words: [String]

    func run() throws -> Run {
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        defer { for argument in arguments { free(argument) } }
        arguments.append(nil)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        var process = pid_t()
        let began = tg_boottime()
        let result = posix_spawnp(&process, words[0], &actions, nil, arguments, environ)
        guard result == 0 else {
            throw BenchError(description: "\(words[0]): \(String(cString: strerror(result)))")
        }
        var (status, usage) = (Int32(0), rusage())
        guard wait4(process, &status, 0, &usage) == process, status & 0x7f == 0 else {
            throw BenchError(description: words.joined(separator: " ") + ": was killed")
        }
        return Run(
            seconds: Double(tg_boottime() - began) / 1e9,
            megabytes: Double(usage.ru_maxrss) * 1_024 / 1e6, exitCode: (status >> 8) & 0xff)
    }
}

extension BenchCommand {
    func measureCommand(_ command: String) throws {
        let words = command.split(separator: " ").map(String.init)
        guard !words.isEmpty else { throw BenchError(description: "--timed names a command") }
        let runs = try (0..<max(1, rounds)).map { _ in try CommandBench(words: words).run() }
        guard let code = runs.first?.exitCode, code < 2, runs.allSatisfy({ $0.exitCode == code })
        else {
            throw BenchError(description: "\(command): exit codes \(runs.map(\.exitCode))")
        }
        let seconds = Figure.median(runs.map(\.seconds))
        let megabytes = runs.map(\.megabytes).max() ?? 0
        let verdict = secondsMax.map {
            Verdict(name: "seconds", figure: seconds, wanted: $0, isLeast: false)
        }
        guard !json else {
            return print(
                "{\"seconds\":\(Report.fixed(seconds, 3)),\"megabytes\":"
                    + "\(Report.fixed(megabytes, 1)),\"exit_code\":\(code),\"verdicts\":["
                    + (verdict?.json ?? "") + "]}")
        }
        print(
            "\(words.dropFirst().joined(separator: " ")): \(Report.fixed(seconds, 2)) s,"
                + " \(Report.fixed(megabytes, 0)) MB, exit code \(code)"
                + (verdict.map { "\n" + $0.text } ?? ""))
    }
}
