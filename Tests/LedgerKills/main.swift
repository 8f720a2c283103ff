import CLinux
import Glibc

// RELIABILITY D1, D10, C4: daemons that are killed at random moments under load, again and again,
// and what their clients were told. `test_ledger_kill.py` runs it:
//
//     ledger-kills TOLLGATED DIRECTORY LIVES [SEED]
//
// Several ledgers side by side in DIRECTORY, which is empty; LIVES in all. Prints the seed, and
// closes with counts. 1, and the files stay, where a number is not what was told.

private let places = 4

private func fail(_ words: String) -> Never {
    print(words)
    exit(1)
}

private let arguments = CommandLine.arguments
guard arguments.count >= 4, let lives = Int(arguments[3]), lives >= places else {
    fail("usage: ledger-kills TOLLGATED DIRECTORY LIVES [SEED]")
}
private let given = arguments.count > 4 ? UInt64(arguments[4]) : nil
private let seed = given ?? UInt64.random(in: 0...UInt64.max)
print("seed \(seed)")
fflush(nil)

private let began = tg_boottime()
private var counts = Counts()
private var hasFailed = false
do {
    let all = try (0..<places).map { index in
        try Place(
            binary: arguments[1], directory: arguments[2] + "/\(index)",
            durability: index.isMultiple(of: 2) ? "second" : "always",
            seed: seed &+ UInt64(index), lives: (lives + index) / places)
    }
    let workers = try all.map { place in try Worker { place.run() } }
    for worker in workers { worker.join() }
    for place in all {
        counts.add(place.counts)
        if let failure = place.failure {
            print("\(failure)")
            hasFailed = true
        }
    }
} catch { fail("\(error)") }

print(counts.lines)
print("\((tg_boottime() - began) / 1_000_000) ms")
exit(hasFailed ? 1 : 0)
