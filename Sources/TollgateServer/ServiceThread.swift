import Glibc
import Synchronization

/// A thread that runs one body, and ends with it: how services and reactors come by theirs.
///
/// What the body captures goes over to the thread (`sending`): who begins it may use of that only
/// what is `Sendable`, as the compiler sees, so nothing here says so in its place.
///
/// Life: made; `begin`, once; `join`, which waits, and does nothing where there is nothing to wait
/// for. Any thread but its own may call either, one after the other.
final class ServiceThread: Sendable {
    /// 0: none was begun, or it was joined. An integer on Linux, and that of no thread.
    private let running = Atomic<pthread_t>(0)

    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    /// Traps when one was begun that nobody joined.
    func begin(_ body: sending @escaping () -> Void) throws(StartError) {
        precondition(running.load(ordering: .acquiring) == 0)
        let box = Unmanaged.passRetained(Body(body))
        var made = pthread_t()
        let result = pthread_create(&made, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw StartError("thread: \(errorText(result))", exitCode: 71)
        }
        running.store(made, ordering: .releasing)
    }

    /// Waits for its end: all that it did is seen by who comes back from this.
    func join() {
        let thread = running.exchange(0, ordering: .acquiringAndReleasing)
        if thread != 0 { pthread_join(thread, nil) }
    }
}
