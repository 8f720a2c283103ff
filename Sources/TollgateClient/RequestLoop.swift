import CLinux
import Glibc
import TollgateWire

/// The thread that owns an `AsyncClient`'s socket. Tasks leave their requests in a table under a
/// lock and wake it through an eventfd; it connects, sends, reads, keeps the deadlines, and resumes
/// them.
///
/// Why a thread: a client is linked into other people's services, so it brings no event loop of its
/// own choice along (NIO, Dispatch), and it may not block the few threads that run everybody's
/// tasks. One thread that sleeps in poll(2) costs some kilobytes, and as the only one that touches
/// the socket it needs no lock around it.
final class RequestLoop: @unchecked Sendable {
    /// What is given to the kernel at once.
    private static let sendBytesMax = 65_536
    private static let readsPerTurn = 16

    private let path: String
    private let timeoutNanoseconds: UInt64
    private let wakeDescriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))

    // A pthread mutex: Core's `Lock` stands above this module, and the thread sanitizer knows it.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    // Guarded by the mutex.
    private var pending = PendingRequests()
    private var isRunning = false
    private var isStopped = false
    private var isAsleep = false

    // The thread's alone.
    private var socket: ClientSocket?
    private var outgoing: [UInt8] = []
    private var outgoingSent = 0
    /// Where `outgoing` begins in the connection's stream.
    private var outgoingOffset = 0
    private var hasAnswered = false
    private var backoff = Backoff()

    init(path: String, timeoutNanoseconds: UInt64) {
        self.path = path
        self.timeoutNanoseconds = timeoutNanoseconds
        mutex = .allocate(capacity: 1)
        let result = pthread_mutex_init(mutex, nil)
        precondition(result == 0, "pthread_mutex_init: \(result)")
    }

    deinit {
        if wakeDescriptor >= 0 { close(wakeDescriptor) }
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    private func locked<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    // MARK: from any task

    func submit(
        _ request: PendingRequest,
        _ continuation: CheckedContinuation<PendingRequest.Outcome, Never>
    ) {
        var mustWake = false
        let completion = locked { () -> Completion? in
            request.continuation = continuation
            if let code = startIfNeeded() {
                return request.complete(.failure(.unreachable(path: path, code: code)))
            }
            let end = pending.submit(request, deadline: tg_boottime() + timeoutNanoseconds)
            mustWake = end == nil && isAsleep
            if mustWake { isAsleep = false }
            return end
        }
        completion?.resume()
        if mustWake { wake() }
    }

    func cancel(_ request: PendingRequest) {
        let completion = locked { pending.cancel(request) }
        completion?.resume()
    }

    /// Ends the connection and the thread. Nobody waits any longer: whoever waits holds the client.
    func stop() {
        locked { isStopped = true }
        wake()
    }

    private func wake() {
        var one: UInt64 = 1
        // It fails only when the counter is full, and then the thread wakes anyway.
        _ = write(wakeDescriptor, &one, 8)
    }

    /// An errno when there can be no thread.
    private func startIfNeeded() -> Int32? {
        if isRunning { return nil }
        guard wakeDescriptor >= 0 else { return EMFILE }
        let box = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<RequestLoop>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, box.toOpaque())
        guard result == 0 else {
            box.release()
            return result
        }
        pthread_detach(thread)
        isRunning = true
        return nil
    }

    // MARK: the thread

    private func run() {
        // Signals are the program's: its handlers run on threads that it knows.
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, nil)
        while !locked({ isStopped }) { turn() }
    }

    private func turn() {
        let (overdue, isStuck) = locked {
            (pending.expire(now: tg_boottime()), pending.isStuck)
        }
        for completion in overdue { completion.resume() }
        if isStuck { end(.timedOut) }
        connectIfNeeded()
        send()
        if wait() { receive() }
    }

    private func connectIfNeeded() {
        guard socket == nil, locked({ pending.queued > 0 }), backoff.retryAt <= tg_boottime() else {
            return
        }
        do throws(ClientError) {
            socket = try ClientSocket(path: path)
            (outgoing, outgoingSent, outgoingOffset, hasAnswered) = ([], 0, 0, false)
        } catch {
            backoff.failed(now: tg_boottime())
            // The daemon is there, but busy: that is worth the wait.
            if case .unreachable(_, EAGAIN) = error { return }
            for completion in locked({ pending.refuseQueued(error) }) { completion.resume() }
        }
    }

    private func send() {
        guard let socket else { return }
        while true {
            if outgoingSent == outgoing.count {
                outgoingOffset += outgoing.count
                outgoing.removeAll(keepingCapacity: true)
                outgoingSent = 0
                locked {
                    pending.send(
                        into: &outgoing, streamOffset: outgoingOffset, bytesMax: Self.sendBytesMax)
                }
                if outgoing.isEmpty { return }
            }
            switch socket.send(outgoing, from: outgoingSent) {
            case .bytes(let count): outgoingSent += count
            case .blocked: return
            case .ended:
                // Before it closed, the daemon may have answered.
                receive()
                return end(.disconnected)
            }
        }
    }

    /// Sleeps until there is something to do; whether the socket is among it.
    private func wait() -> Bool {
        let now = tg_boottime()
        let isSending = outgoingSent < outgoing.count
        let milliseconds = locked { () -> Int32 in
            if isStopped || (socket != nil && !isSending && pending.canSend) { return 0 }
            isAsleep = true
            var next = pending.nextDeadline()
            if socket == nil, pending.queued > 0 {
                next = min(next ?? .max, max(backoff.retryAt, now))
            }
            return next.map { Deadline.pollMilliseconds(from: now, to: $0) } ?? -1
        }
        let events = Int16(isSending ? POLLIN | POLLOUT : POLLIN)
        // poll(2) passes over negative descriptors.
        var polled = [
            pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket?.descriptor ?? -1, events: events, revents: 0),
        ]
        poll(&polled, 2, milliseconds)
        locked { isAsleep = false }
        if polled[0].revents != 0 {
            var count: UInt64 = 0
            _ = read(wakeDescriptor, &count, 8)
        }
        return polled[1].revents & ~Int16(POLLOUT) != 0
    }

    private func receive() {
        for _ in 0..<Self.readsPerTurn {
            guard let socket else { return }
            switch socket.receive() {
            case .blocked: return
            case .ended: return end(.disconnected)
            case .bytes: if !takeFrames(socket) { return }
            }
        }
    }

    /// False when the connection was ended.
    private func takeFrames(_ socket: ClientSocket) -> Bool {
        var completions: [Completion] = []
        var failure: ClientError?
        locked {
            do throws(ClientError) {
                while let frame = try socket.nextFrame() {
                    if let completion = try pending.answer(frame) { completions.append(completion) }
                    hasAnswered = true
                }
            } catch { failure = error }
        }
        if hasAnswered { backoff.succeeded() }
        for completion in completions { completion.resume() }
        if let failure { end(failure) }
        return failure == nil
    }

    /// Ends the connection, if there is one, and with it what was sent on it.
    private func end(_ error: ClientError) {
        guard socket != nil else { return }
        socket = nil
        let sentBytes = outgoingOffset + outgoingSent
        (outgoing, outgoingSent) = ([], 0)
        // One that gave no answer counts as one that could not be made.
        if !hasAnswered { backoff.failed(now: tg_boottime()) }
        for completion in locked({ pending.connectionEnded(sentBytes: sentBytes, error) }) {
            completion.resume()
        }
    }
}
