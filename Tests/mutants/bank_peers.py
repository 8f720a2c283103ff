"""Sockets, frames, roles, and replies that wait for a sync."""

from mutant import Mutant, of

SERVER = "Sources/TollgateServer/"


def server(suites: str) -> tuple[str, ...]:
    return of("TollgateServerTests", suites)


PEERS = [
    Mutant("reply-by-a-running-sync", SERVER + "Ledger/SyncRounds.swift",
           "return begun.load(ordering: .sequentiallyConsistent) &+ 1",
           "return begun.load(ordering: .sequentiallyConsistent)",
           "a reply waits for a sync that began before its charge",
           server("SyncRoundsTests")),
    Mutant("reply-before-sync", SERVER + "Reactor+Holding.swift",
           "guard worker.hasJournaled || connection.pointee.syncBytes > 0, outputBytes > start",
           "guard connection.pointee.syncBytes > 0, outputBytes > start",
           "`durability: always` does not wait",
           server("HoldingTests/aCharge")),
    Mutant("frame-before-its-ceiling", SERVER + "Reactor+Reading.swift",
           "return length > UInt32(shared.settings.frameBytesMax) ? .frameTooLarge : nil",
           "return length > UInt32.max / 2 ? .frameTooLarge : nil",
           "a frame that is too long is gathered before it is refused",
           server("ServerTests/aLengthOutOfRange")),
    Mutant("awake-while-writing", SERVER + "Reactor+Holding.swift",
           "if connection.pointee.isWriting { events = EPOLLOUT.rawValue }",
           "if connection.pointee.isWriting { events |= EPOLLOUT.rawValue }",
           "what a peer sends that does not read keeps the reactor awake",
           server("ServerTests/aPeerThatNeverReads")),
    Mutant("uid-unchecked", SERVER + "Roles.swift",
           "if uid == 0 || uid == ownUser { return roles.union(.all) }",
           "if uid == 0 || uid != ownUser { return roles.union(.all) }",
           "anybody is an administrator",
           server("DirectoryRoleTests/rootTheDaemons DirectoryRoleTests/aRole")),
    Mutant("admin-on-any-socket", SERVER + "Reactor+Dispatch.swift",
           "guard connections[slot].mayAdminister else {",
           "guard connections[slot].mayAdminister || header.reserved == 0 else {",
           "whoever may ask may end the daemon",
           server("ServerTests/framesOfUnknown")),
    Mutant("live-socket-replaced", SERVER + "SocketPlace.swift",
           "case ECONNREFUSED: break",
           "case ECONNREFUSED, 0: break",
           "a second daemon takes the first one's socket",
           server("ListenerTests/aLiveSocket")),
    Mutant("two-daemons", SERVER + "Listener.swift",
           "guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {",
           "guard flock(descriptor, LOCK_SH | LOCK_NB) == 0 else {",
           "two daemons hold one socket's lock",
           server("ListenerTests")),
]
