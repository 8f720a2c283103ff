import CLinux
import Glibc
import Synchronization

/// Wakes one thread from many: an eventfd that is written to only when it was not rung already,
/// so that ringing it often costs a load.
package final class Bell: Sendable {
    /// Whoever rings on a thread with a table of descriptors of its own keeps this one in it.
    package let descriptor: Int32
    private let isRung = Atomic<Bool>(false)

    package init() throws(StartError) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard descriptor >= 0 else {
            throw StartError("eventfd: \(errorText(errno))", exitCode: 71)
        }
    }

    deinit { close(descriptor) }

    func ring() {
        guard !isRung.load(ordering: .relaxed),
            !isRung.exchange(true, ordering: .acquiringAndReleasing)
        else { return }
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    /// Waits until it is rung, at most so long; whether it was. Rung again from then on, it wakes
    /// again. Of one thread.
    @discardableResult
    func wait(milliseconds: Int32) -> Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&polled, 1, milliseconds)
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
        return isRung.exchange(false, ordering: .acquiringAndReleasing)
    }
}
