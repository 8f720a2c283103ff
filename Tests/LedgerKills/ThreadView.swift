import CLinux
import Glibc

/// What each thread of a process is doing, out of /proc: for who waits in vain for the process.
/// Lines of what the kernel does not show to this user say why.
enum ThreadView {
    private static let fileBytesMax = 4_096

    /// A line for each thread: its name and state, where in the kernel it waits, which system call
    /// it is in (its number, then its arguments), and the kernel's stack, where that is shown.
    static func lines(of process: pid_t) -> String {
        let tasks = "/proc/\(process)/task"
        guard let listing = opendir(tasks) else {
            return "  \(tasks): \(String(cString: strerror(errno)))"
        }
        defer { closedir(listing) }
        var threads: [String] = []
        var failure: Int32 = 0
        while let name = tg_next_name(UnsafeMutableRawPointer(listing), &failure) {
            let thread = String(cString: name)
            if Int(thread) != nil { threads.append(line(of: "\(tasks)/\(thread)", thread)) }
        }
        return threads.joined(separator: "\n")
    }

    private static func line(of task: String, _ thread: String) -> String {
        let stack = text("\(task)/stack").split(separator: "\n").map {
            $0.split(separator: " ").last.map(String.init) ?? ""
        }
        return "  \(thread) \(text("\(task)/comm")): state \(state(text("\(task)/status"))),"
            + " waits in \(text("\(task)/wchan")), system call \(text("\(task)/syscall")),"
            + " stack \(stack.joined(separator: " < "))"
    }

    private static func state(_ status: String) -> String {
        let line = status.split(separator: "\n").first { $0.hasPrefix("State:") }
        return line.map { String($0.dropFirst("State:\t".count)) } ?? status
    }

    /// What stands in a file, without the ends of its last line; or why it cannot be read.
    private static func text(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "(\(String(cString: strerror(errno))))" }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: fileBytesMax)
        let got = read(file, &bytes, bytes.count)
        guard got >= 0 else { return "(\(String(cString: strerror(errno))))" }
        var text = String(decoding: bytes.prefix(got), as: UTF8.self)
        while text.last == "\n" { text.removeLast() }
        return text
    }
}
