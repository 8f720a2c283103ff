import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// From bytes to whole frames, and what is left over.
extension Reactor {
    /// What a connection at rest sent; `nil` when there is nothing, or it ended and is closed.
    @inline(__always)
    func readFresh(
        _ slot: Int, into place: UnsafeMutableRawPointer
    ) -> UnsafeRawBufferPointer? {
        let got = tg_read(connections[slot].descriptor, place, Self.batchBytes)
        if got <= 0 {
            if got != -Int(EAGAIN), got != -Int(EINTR) { endInput(slot) }
            return nil
        }
        counters.bytesIn.store(
            counters.bytesIn.load(ordering: .relaxed) &+ UInt64(got), ordering: .relaxed)
        return UnsafeRawBufferPointer(start: place, count: got)
    }

    /// Reads as much as is there, and answers every whole frame of it. The bytes that were read:
    /// fewer than `readBytesMax` when there were no more.
    @inline(__always)
    @discardableResult
    func readAndAnswer(_ slot: Int) -> Int {
        let connection = connections + slot
        let held = connection.pointee.heldBytes
        if held > 0, let bytes = connection.pointee.held {
            input.copyMemory(from: bytes, byteCount: held)
        }
        let got = tg_read(connection.pointee.descriptor, input + held, Self.readBytesMax)
        if got <= 0 {
            if got != -Int(EAGAIN), got != -Int(EINTR) { endInput(slot) }
            return 0
        }
        counters.bytesIn.store(
            counters.bytesIn.load(ordering: .relaxed) &+ UInt64(got), ordering: .relaxed)
        answer(slot, UnsafeRawBufferPointer(start: input, count: held &+ got))
        return got
    }

    /// Answers the whole frames at the front of `bytes`, holds the rest, writes the replies.
    func answer(_ slot: Int, _ bytes: UnsafeRawBufferPointer) {
        outputBytes = 0
        answerFrames(slot, bytes)
        tellOfReplies()
        writeReplies(slot, 0..<outputBytes)
    }

    /// `answer` without the write: the replies stand behind what stood in `output` before.
    func answerFrames(_ slot: Int, _ bytes: UnsafeRawBufferPointer) {
        let connection = connections + slot
        let start = outputBytes
        var offset = 0
        var frames = 0
        worker.forgetJournaled()
        while !connection.pointee.isClosing, bytes.count &- offset >= WireLimits.headerBytes {
            guard frames < framesEach, outputBytes &- start < Self.outSoftMax else {
                break
            }
            let header = FrameHeader(reading: bytes, at: offset)
            if let fault = fault(of: header) {
                let detail: StaticString =
                    fault == .frameTooLarge
                    ? "the length is above the daemon's ceiling" : "the header breaks the grid"
                putRefusal(fault, detail, opcode: header.opcode, header.requestID)
                connection.pointee.isClosing = true
                break
            }
            let total = WireLimits.lengthFieldBytes &+ Int(header.length)
            guard bytes.count &- offset >= total else { break }
            prefetch(bytes, after: offset &+ total)
            tendAudit()
            dispatch(
                header, bytes.slice(at: offset &+ WireLimits.headerBytes, length: header.bodyBytes),
                slot)
            tendRegions()
            offset &+= total
            frames &+= 1
        }
        ReactorCounters.add(counters.frames, frames)
        if !connection.pointee.isClosing { checkShortHeader(slot, bytes, offset) }
        holdReplies(slot, from: start)
        keepRest(slot, bytes, from: offset, answered: frames)
    }

    /// Begins to bring near what the next three requests will read. Only looks: a frame that is
    /// not what it seems to be brings the wrong lines near, and is judged in its turn.
    @inline(__always)
    private func prefetch(_ bytes: UnsafeRawBufferPointer, after offset: Int) {
        guard let next = peek(bytes, at: offset) else { return }
        worker.prefetchRows(next.opcode, next.body)
        let end = offset &+ WireLimits.headerBytes &+ next.body.count
        guard let second = peek(bytes, at: end) else { return }
        worker.prefetchEntry(second.opcode, second.body)
        let last = end &+ WireLimits.headerBytes &+ second.body.count
        if let third = peek(bytes, at: last) { worker.prefetchPlace(third.opcode, third.body) }
    }

    /// The opcode and the body of the frame at `offset`, if all of it is there.
    @inline(__always)
    func peek(
        _ bytes: UnsafeRawBufferPointer, at offset: Int
    ) -> (opcode: UInt8, body: UnsafeRawBufferPointer)? {
        guard bytes.count &- offset >= WireLimits.headerBytes else { return nil }
        let length = Int(bytes.loadLittle(at: offset, as: UInt32.self))
        guard length >= WireLimits.lengthMin,
            bytes.count &- offset >= WireLimits.lengthFieldBytes &+ length
        else { return nil }
        let body = bytes.slice(
            at: offset &+ WireLimits.headerBytes, length: length &- WireLimits.lengthMin)
        return (bytes[offset &+ WireLimits.lengthFieldBytes], body)
    }

    /// A length that can never be right is refused before its frame is whole.
    private func checkShortHeader(_ slot: Int, _ bytes: UnsafeRawBufferPointer, _ offset: Int) {
        let rest = bytes.count &- offset
        guard rest >= WireLimits.lengthFieldBytes, rest < WireLimits.headerBytes else { return }
        let length = bytes.loadLittle(at: offset, as: UInt32.self)
        guard let fault = fault(ofLength: length) else { return }
        putRefusal(fault, "the length is out of range", opcode: 0, 0)
        connections[slot].isClosing = true
    }

    private func fault(ofLength length: UInt32) -> Status? {
        if length < UInt32(WireLimits.lengthMin) { return .malformedFrame }
        return length > UInt32(shared.settings.frameBytesMax) ? .frameTooLarge : nil
    }

    @inline(__always)
    private func fault(of header: FrameHeader) -> Status? {
        if let fault = fault(ofLength: header.length) { return fault }
        return header.reserved != 0 || header.status != 0 ? .malformedFrame : nil
    }

    private func keepRest(
        _ slot: Int, _ bytes: UnsafeRawBufferPointer, from offset: Int, answered: Int
    ) {
        let connection = connections + slot
        let rest = bytes.count &- offset
        if rest == 0 && connection.pointee.heldBytes == 0 { return }
        if connection.pointee.isClosing { return }
        guard makeRoom(rest &- connection.pointee.heldBytes, for: slot) else {
            // What was answered is written; the rest of it would not fit.
            connection.pointee.isClosing = true
            return
        }
        connection.pointee.hold(bytes.slice(at: offset, length: rest))
        let isWhole = rest > 0 && wholeFrameWaits(connection.pointee)
        // The clock runs from the first byte of the frame that is not whole.
        if connection.pointee.halfSince > 0, answered > 0 || isWhole || rest == 0 {
            connection.pointee.halfSince = 0
        }
        if rest > 0, !isWhole, connection.pointee.halfSince == 0 {
            connection.pointee.halfSince = now
        }
        if isWhole, !connection.pointee.isQueued {
            connection.pointee.isQueued = true
            queue.append(registration(slot))
        }
    }

    /// Counts bytes more that a connection is to hold; false where they are too many. A little is
    /// everybody's own; beyond it, whoever holds most gives way: those who hold much, stopping
    /// within frames or sending without reading, do not close the others' connections.
    func makeRoom(_ bytes: Int, for slot: Int) -> Bool {
        let wanted = connections[slot].bufferedBytes &+ bytes
        if bytes > 0, wanted > Self.ownBytes {
            while bufferedBytes &+ bytes > bufferBytesMax {
                ReactorCounters.add(counters.bufferCloses)
                guard let largest = largestHolder(above: wanted) else { return false }
                closeConnection(largest)
            }
        }
        bufferedBytes &+= bytes
        return true
    }

    private func largestHolder(above bytes: Int) -> Int? {
        var largest: Int?
        var most = bytes
        for slot in 0..<slotsUsed where connections[slot].bufferedBytes > most {
            most = connections[slot].bufferedBytes
            largest = slot
        }
        return largest
    }

    private func wholeFrameWaits(_ connection: Connection) -> Bool {
        guard connection.heldBytes >= WireLimits.headerBytes, let held = connection.held else {
            return false
        }
        let bytes = UnsafeRawBufferPointer(start: held, count: connection.heldBytes)
        let header = FrameHeader(reading: bytes)
        return fault(of: header) != nil
            || connection.heldBytes >= WireLimits.lengthFieldBytes + Int(header.length)
    }

    /// Connections with whole frames left over from their turn, each once.
    func answerQueued() {
        guard !queue.isEmpty else { return }
        let waiting = queue
        queue.removeAll(keepingCapacity: true)
        for id in waiting {
            let slot = Int(id & 0xffff_ffff)
            guard connections[slot].generation == UInt32(id >> 32) else { continue }
            connections[slot].isQueued = false
            if !connections[slot].isWriting { answerHeld(slot) }
        }
    }

    func answerHeld(_ slot: Int) {
        let connection = connections + slot
        guard connection.pointee.heldBytes > 0, let held = connection.pointee.held else { return }
        input.copyMemory(from: held, byteCount: connection.pointee.heldBytes)
        answer(slot, UnsafeRawBufferPointer(start: input, count: connection.pointee.heldBytes))
    }
}
