import TollgateCore

/// Whether what was found of a log is what was written: what `audit.head` has signed must be in the
/// chain that the log goes on from. Else nothing may be signed behind it but with a note that says
/// so: a log that somebody made anew would get the key's signature.
extension AuditRecovery {
    /// `numbers` are the segments that are there; `tail` is where they come to.
    func prove(
        _ places: AuditHeadPlaces, _ numbers: [UInt64], _ key: AuditKey, _ tail: inout AuditTail
    ) throws(AuditFailure) {
        let path = directory + "/" + AuditFiles.head
        guard let head = places.newest else {
            return doubt("\(path) \(places.words ?? "")", &tail)
        }
        if head.log == tail.log, head.end.segment > 0,
            numbers.isEmpty || head.end.block > tail.end.block
        {
            let count = head.end.block &- (numbers.isEmpty ? 0 : tail.end.block)
            return doubt("\(count) blocks that were durable are gone from its end", &tail, count)
        }
        if let words = places.words {
            return doubt("\(path), byte \(places.damaged.first ?? 0): \(words)", &tail)
        }
        if head.log == tail.log, head.end == tail.end {
            tail.signed = head.end
            return
        }
        guard head.log == tail.log,
            try isInChain(head.end, numbers, tail.end, key)
        else {
            return doubt("its end is not the one that \(path) has signed", &tail)
        }
        tail.signed = head.end
        let unsigned = tail.end.block &- head.end.block
        guard unsigned > 0 else { return }
        report(
            "\(directory): \(unsigned) blocks were written and not yet signed when the daemon"
                + " before was killed; they are taken over as they stand")
    }

    private func doubt(_ words: String, _ tail: inout AuditTail, _ count: UInt64 = 0) {
        tail.doubt =
            "audit log \(directory): \(words); what stands before is not proven to be what was"
            + " written; the log goes on behind it, and says so; look at it with: tollgate audit"
            + " verify"
        tail.gaps.append(
            AuditGap(
                .lost, count: count, life: tail.life, first: now.milliseconds,
                last: now.milliseconds))
    }

    /// Whether the chain that ends at `last` goes through `signed`, and only its last segment has
    /// blocks behind that which no seal signs.
    private func isInChain(
        _ signed: AuditEnd, _ numbers: [UInt64], _ last: AuditEnd, _ key: AuditKey
    ) throws(AuditFailure) -> Bool {
        var end: AuditEnd? = signed.segment == 0 ? signed : nil
        for number in numbers where number >= signed.segment {
            guard let file = try older(number) else { return false }
            if number != last.segment {
                guard numbers.contains(number &+ 1), let next = try older(number &+ 1) else {
                    return false
                }
                file.limit(to: next.header.previousBytes)
            }
            var walk = AuditWalk(file)
            // Behind a segment that is signed to its end its header adds nothing.
            var isSigned = end != nil || walk.end == signed
            var isThrough = isSigned
            if let end, !file.header.follows(end) { return false }
            steps: while true {
                let previous = walk.end.head
                switch try walk.next() {
                case .block(let block):
                    isSigned =
                        walk.end == signed || isThrough && block.isSeal(file.header, previous, key)
                    isThrough = isThrough || isSigned
                case .end: break steps
                case .broken: return false
                }
            }
            guard isThrough, isSigned || number == last.segment else { return false }
            end = walk.end
        }
        return end == last
    }
}

extension AuditSegmentHeader {
    /// It is that of the segment behind.
    func follows(_ end: AuditEnd) -> Bool {
        number == end.segment &+ 1 && firstBlock == end.block && previous == end.head
            && previousBytes == UInt64(truncatingIfNeeded: end.offset)
    }
}

extension AuditReadBlock {
    /// It is the segment's seal, signed with the key; `previous` is the hash of the block before.
    func isSeal(
        _ header: AuditSegmentHeader, _ previous: AuditHash, _ key: AuditKey
    ) -> Bool {
        defer { keep() }
        return head.kind == .seal && AuditSeal.isSigned(self, header, previous: previous, key)
    }
}
