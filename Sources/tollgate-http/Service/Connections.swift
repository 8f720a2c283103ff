#if HTTP
import NIOCore

/// The open connections of one event loop; used on it alone.
///
/// Bounded: at the ceiling the one that has waited longest for its next request gives way to a new
/// one, so that whoever only holds connections locks nobody out. Where all are being answered, the
/// new one is closed, and so is each of the others behind its answer: whoever has sent a thousand
/// requests ahead has a place for one.
final class Connections {
    let most: Int
    private let tally: Tally
    private var open: [ObjectIdentifier: RequestHandler] = [:]
    private(set) var isDraining = false
    private var whenEmpty: EventLoopPromise<Void>?
    private var waits: UInt64 = 0

    init(most: Int, _ tally: Tally) {
        self.most = most
        self.tally = tally
    }

    /// False: there is no place.
    func admit(_ handler: RequestHandler) -> Bool {
        guard !isDraining else { return false }
        if open.count >= most {
            let waiting = open.values.filter { !$0.isAnswering }
            guard let longest = waiting.min(by: { $0.waitNumber < $1.waitNumber }) else {
                tally.refused.wrappingAdd(1, ordering: .relaxed)
                return false
            }
            tally.displaced.wrappingAdd(1, ordering: .relaxed)
            remove(longest)
            longest.close()
        }
        open[ObjectIdentifier(handler)] = handler
        tally.connections.store(open.count, ordering: .relaxed)
        return true
    }

    /// A new one would find no place.
    var isFull: Bool { open.count >= most && open.values.allSatisfy(\.isAnswering) }

    func remove(_ handler: RequestHandler) {
        open[ObjectIdentifier(handler)] = nil
        tally.connections.store(open.count, ordering: .relaxed)
        if isDraining, open.isEmpty { whenEmpty?.succeed() }
    }

    /// Numbers waits in the order in which they begin.
    func nextWait() -> UInt64 {
        waits += 1
        return waits
    }

    /// Ends those that wait, and the others behind their answer; the promise when all have ended.
    func drain(_ promise: EventLoopPromise<Void>) {
        isDraining = true
        whenEmpty = promise
        if open.isEmpty { return promise.succeed() }
        for handler in Array(open.values) where !handler.isAnswering { handler.close() }
    }
}
#endif
