import TollgateCore
import TollgateStorage
import TollgateWire

/// A call, read as far as it can be without the directory.
struct DecodedCall {
    var request: CallRequest
    /// `nil` when it is refused already.
    var call: DirectoryRequest?
    var refusal: CallReply?

    /// Whether it is carried out as part of a transaction.
    var isChanging: Bool { call.map { !$0.call.onlyReads && !isAlone } ?? false }
    /// Whether it cannot be carried out with others: no copy is made within a transaction.
    var isAlone: Bool { call?.call == .createBackup }

    init(_ request: CallRequest) {
        self.request = request
        let fault = request.body.withUnsafeBytes { body -> DirectoryRequest.Fault? in
            do throws(DirectoryRequest.Fault) {
                let object = try DirectoryRequest.object(body)
                try choose(try DirectoryRequest.call(of: object), object)
                return nil
            } catch { return error }
        }
        if let fault { refusal = .refused(fault.status, fault.description) }
    }

    /// The role first: what else is wrong with it is only for those that may ask.
    private mutating func choose(
        _ name: CallName, _ object: JSONObject
    ) throws(DirectoryRequest.Fault) {
        let (role, refusal): (Roles, String) =
            switch name.role {
            case .issue: (.issue, "this user has not the role issue")
            case .watch:
                (.watch, "this user has not the role watch, nor admin on the admin socket")
            case .admin: (.admin, "only on the admin socket, for the role admin")
            }
        guard request.peer.may(role) else {
            self.refusal = .refused(.forbidden, refusal)
            return
        }
        do throws(DocumentError) {
            call = try DirectoryRequest(name, checking: object)
        } catch { throw .invalid(error) }
    }

    /// The call's name, if it is one of ours: what else stands there may be a secret.
    static func name(in body: [UInt8]) -> CallName? {
        body.withUnsafeBytes { body in
            do throws(DirectoryRequest.Fault) {
                return try DirectoryRequest.call(of: try DirectoryRequest.object(body))
            } catch { return nil }
        }
    }
}

/// Calls that are carried out together, in order, and what became of each.
struct CallBatch {
    struct Outcome {
        var reply: CallReply
        var publications: [Publication] = []
        var warnings: [String] = []
        var reuses: [AlertEvent] = []
        var displaced = 0
    }

    var calls: [DecodedCall]
    var outcomes: [Outcome]

    init(_ calls: [DecodedCall]) {
        self.calls = calls
        outcomes = calls.map {
            Outcome(reply: $0.refusal ?? .refused(.internalError, "the call was not carried out"))
        }
    }

    var isChanging: Bool { calls.contains { $0.isChanging } }
    var publications: [Publication] { outcomes.flatMap(\.publications) }
    var warnings: [String] { outcomes.flatMap(\.warnings) }
}
