import TollgateWire

/// The claims of a token whose signature was good.
extension TokenVerifier {
    /// Times, audience, then identity, so that the reason with the lowest number is found first.
    mutating func judge(
        _ key: CompiledKey, _ issuers: IssuerTable, expiryNow: WallTime, notBeforeNow: WallTime
    ) -> Reason {
        let issuer = issuers.issuer(key.issuer)
        let times = TokenTimes(payload)
        var reason = times.judge(issuer, expiryNow: expiryNow, notBeforeNow: notBeforeNow)
        if reason != .none { return reason }
        reason = judgeAudience(issuer, issuers)
        if reason != .none { return reason }
        guard times.areSound else { return .claimInvalid }
        claims.issuerIndex = key.issuer
        claims.expirySeconds = times.expiry.roundedDown
        claims.notBeforeSeconds = times.hasNotBefore ? times.notBefore.roundedUp : 0
        claims.issuedMilliseconds = times.hasIssuedAt ? times.issuedAt.milliseconds : 0
        if let member = payload.find(.jti), let id = payload.stringValue(member) {
            claims.tokenID = id
        }
        if let member = payload.find(.sid), let id = payload.stringValue(member) {
            claims.session = id
        }
        guard readIdentity(key, issuer, issuers), readPlan(issuer, issuers),
            readPermissions(issuer, issuers)
        else { return .claimInvalid }
        return .none
    }

    @inline(__always)
    private func find(_ claim: ClaimName, _ issuers: IssuerTable) -> JSONMember? {
        guard claim.isMapped else { return nil }
        return payload.find(claim.name, issuers.view(claim.bytes))
    }

    /// `aud` is a string or an array of nothing but strings; one must be an audience of the issuer.
    private mutating func judgeAudience(
        _ issuer: CompiledIssuer, _ issuers: IssuerTable
    ) -> Reason {
        guard !issuer.audiences.isEmpty else { return .none }
        guard let member = payload.find(.aud) else { return .audienceMismatch }
        if let single = payload.stringValue(member) {
            return isAudience(single, issuer, issuers) ? .none : .audienceMismatch
        }
        guard member.kind == .array else { return .claimInvalid }
        var matched = false
        payload.openArray(member)
        while true {
            switch payload.nextElement() {
            case .end: return matched ? .none : .audienceMismatch
            case .other: return .claimInvalid
            case .string(let value): matched = matched || isAudience(value, issuer, issuers)
            }
        }
    }

    private func isAudience(
        _ value: UnsafeRawBufferPointer, _ issuer: CompiledIssuer, _ issuers: IssuerTable
    ) -> Bool {
        for index in issuer.audiences where equalBytes(issuers.name(index), value) { return true }
        return false
    }

    private mutating func readIdentity(
        _ key: CompiledKey, _ issuer: CompiledIssuer, _ issuers: IssuerTable
    ) -> Bool {
        guard let member = find(issuer.user, issuers), let user = payload.stringValue(member),
            Self.isIdentifier(user)
        else { return false }
        claims.user = user
        if let member = find(issuer.organization, issuers) {
            guard let organization = payload.stringValue(member), Self.isIdentifier(organization)
            else { return false }
            claims.organization = organization
            claims.hasOrganization = true
        }
        guard key.organization.length > 0 else { return true }
        return claims.hasOrganization
            && equalBytes(issuers.view(key.organization), claims.organization)
    }

    /// The plan claim; without one, the first role that has a plan.
    private mutating func readPlan(_ issuer: CompiledIssuer, _ issuers: IssuerTable) -> Bool {
        if let member = find(issuer.plan, issuers) {
            guard let plan = payload.stringValue(member), Self.isIdentifier(plan) else {
                return false
            }
            claims.plan = plan
            claims.hasPlan = true
            return true
        }
        guard let member = find(issuer.roles, issuers) else { return true }
        if let role = payload.stringValue(member) {
            usePlan(of: role, issuer, issuers)
            return true
        }
        guard member.kind == .array else { return false }
        payload.openArray(member)
        while true {
            switch payload.nextElement() {
            case .end: return true
            case .other: return false
            case .string(let role): usePlan(of: role, issuer, issuers)
            }
        }
    }

    private mutating func usePlan(
        of role: UnsafeRawBufferPointer, _ issuer: CompiledIssuer, _ issuers: IssuerTable
    ) {
        guard !claims.hasPlan else { return }
        for index in issuer.rolePlans {
            let entry = issuers.rolePlan(index)
            guard equalBytes(issuers.view(entry.role), role) else { continue }
            claims.plan = issuers.view(entry.plan)
            claims.hasPlan = true
            return
        }
    }

    /// An array of identifiers, or a string of them with single or several spaces between
    /// (RFC 8693 §4.2).
    private mutating func readPermissions(
        _ issuer: CompiledIssuer, _ issuers: IssuerTable
    ) -> Bool {
        guard let member = find(issuer.permissions, issuers) else { return true }
        claims.hasPermissions = true
        claims.permissionMode = issuer.permissionMode
        if let text = payload.stringValue(member) { return splitPermissions(text) }
        guard member.kind == .array else { return false }
        var count = 0
        payload.openArray(member)
        while true {
            switch payload.nextElement() {
            case .end:
                claims.permissions = UnsafeBufferPointer(start: permissionList, count: count)
                return true
            case .other: return false
            case .string(let permission):
                guard add(permission, &count) else { return false }
            }
        }
    }

    private mutating func splitPermissions(_ text: UnsafeRawBufferPointer) -> Bool {
        var count = 0
        var start = 0
        while start < text.count {
            var end = start
            while end < text.count, text[end] != 0x20 { end &+= 1 }
            if end > start, !add(text.slice(at: start, length: end &- start), &count) {
                return false
            }
            start = end &+ 1
        }
        claims.permissions = UnsafeBufferPointer(start: permissionList, count: count)
        return true
    }

    @inline(__always)
    private func add(_ permission: UnsafeRawBufferPointer, _ count: inout Int) -> Bool {
        guard count < Self.permissionsMax, Self.isIdentifier(permission) else { return false }
        permissionList[count] = permission
        count &+= 1
        return true
    }

    /// 1 to 128 bytes without a control character (C0, DEL, C1). `text` is UTF-8, checked.
    static func isIdentifier(_ text: UnsafeRawBufferPointer) -> Bool {
        guard text.count >= 1, text.count <= WireLimits.identifierBytesMax else { return false }
        var index = 0
        while index < text.count {
            let byte = text[index]
            if byte < 0x20 || byte == 0x7f { return false }
            // U+0080 to U+009F are C2 80 to C2 9F.
            if byte == 0xc2, index &+ 1 < text.count, text[index &+ 1] < 0xa0 { return false }
            index &+= 1
        }
        return true
    }
}
