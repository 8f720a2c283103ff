import Glibc

/// What the kernel calls this start of the host: boottimes of two are not compared.
package enum HostBoot {
    private static let path = "/proc/sys/kernel/random/boot_id"
    private static let textBytesMax = 64

    /// proc_sys_kernel(5): 32 hexadecimal digits, with dashes among them.
    package static func id() throws(DiskError) -> (UInt64, UInt64) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DiskError(.open, path, errno) }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: textBytesMax)
        let count = read(descriptor, &text, text.count)
        guard count >= 0 else { throw DiskError(.read, path, errno) }
        let digits = text.prefix(count).compactMap { byte -> UInt64? in
            switch byte {
            case 0x30...0x39: UInt64(byte &- 0x30)
            case 0x61...0x66: UInt64(byte &- 0x61 &+ 10)
            default: nil
            }
        }
        guard digits.count == 32 else { throw DiskError(.read, path, EINVAL) }
        let number = { (part: ArraySlice<UInt64>) in part.reduce(0) { $0 &<< 4 | $1 } }
        return (number(digits.prefix(16)), number(digits.dropFirst(16)))
    }
}
