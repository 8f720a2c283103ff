import Testing
import TollgateWire

@testable import TollgateClient

/// Which kind of credential a question carries, and that none is printed.
@Suite struct CredentialTests {
    private static func kind(_ question: CheckQuestion) throws -> UInt8 { try question.body()[0] }

    @Test func aQuestionCarriesTheKindThatItWasGiven() throws {
        let operation = OperationSelector.name("chat")
        let kinds: [(CheckQuestion, UInt8, CredentialKind)] = [
            (CheckQuestion(token: "a.b.c", operation: operation), 1, .accessToken),
            (CheckQuestion(token: "", operation: operation), 0, .none),
            // Said to be a token, it is sent as one.
            (CheckQuestion(token: "tg_live_x", operation: operation), 1, .accessToken),
            (CheckQuestion(credential: .apiKey("tg_live_x"), operation: operation), 2, .apiKey),
            (CheckQuestion(credential: .apiKey(""), operation: operation), 0, .none),
            (CheckQuestion(credential: .none, operation: operation), 0, .none),
            (CheckQuestion(credential: .accessToken("x"), operation: operation), 1, .accessToken),
            (CheckQuestion(credential: .presented("tg_live_x"), operation: operation), 2, .apiKey),
            (CheckQuestion(credential: .presented("tg_"), operation: operation), 2, .apiKey),
            (CheckQuestion(credential: .presented("tg"), operation: operation), 1, .accessToken),
            (CheckQuestion(credential: .presented("e.b.c"), operation: operation), 1, .accessToken),
            (CheckQuestion(credential: .presented(""), operation: operation), 0, .none),
        ]
        for (question, byte, kind) in kinds {
            #expect(try Self.kind(question) == byte)
            #expect(question.credential.kind == kind)
        }
        var question = CheckQuestion(credential: .apiKey("tg_live_x"), operation: operation)
        #expect(question.token == "tg_live_x")
        question.token = "a.b.c"
        #expect(try Self.kind(question) == 1)
    }

    @Test func aQuestionPrintsNoCredential() {
        let question = CheckQuestion(credential: .apiKey("tg_hidden"), operation: .name("chat"))
        var dumped = ""
        dump(question, to: &dumped)
        for shown in ["\(question)", String(reflecting: question), dumped] {
            #expect(!shown.contains("tg_hidden") && shown.contains("(secret)"))
        }
        #expect(question.credential.revealed() == "tg_hidden")
    }
}
