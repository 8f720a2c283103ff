/// Two routes of which neither is the more specific one, or a template that is none.
package struct RouteConflict: Error, Sendable, Equatable {
    package var message: String
    /// Index of the operation whose route is at fault, and of that route in it.
    package var operation: Int
    package var route: Int
}

/// One part of a path template, between slashes.
enum TemplateSegment: Sendable, Equatable {
    case literal([UInt8])
    /// `{name}`: any one segment.
    case any
    /// `{name...}`: one or more segments up to the end.
    case rest
}

/// A path template taken apart: `/v1/files/{id}`, `/v1/raw/{rest...}`.
struct RouteTemplate: Sendable, Equatable {
    var segments: [TemplateSegment]

    static let segmentsMax = 64

    /// What is wrong with `path`, in the throw; literals hold no escapes, so that every literal
    /// has one spelling.
    init(_ path: String) throws(TemplateFault) {
        guard path.hasPrefix("/") else { throw TemplateFault("a path begins with /") }
        var segments: [TemplateSegment] = []
        let parts =
            path == "/"
            ? [] : path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        for part in parts {
            if segments.last == .rest { throw TemplateFault("{name...} stands last") }
            segments.append(try Self.segment(Array(part.utf8)))
        }
        guard segments.count <= Self.segmentsMax else {
            throw TemplateFault("more than \(Self.segmentsMax) segments")
        }
        self.segments = segments
    }

    private static func segment(_ bytes: [UInt8]) throws(TemplateFault) -> TemplateSegment {
        guard let first = bytes.first, let last = bytes.last else {
            throw TemplateFault("an empty segment (a doubled slash, or one at the end)")
        }
        if first == UInt8(ascii: "{") {
            guard last == UInt8(ascii: "}") else {
                throw TemplateFault("{name} is a whole segment")
            }
            var name = bytes.dropFirst().dropLast()
            let isRest = name.suffix(3).elementsEqual("...".utf8)
            if isRest { name = name.dropLast(3) }
            guard !name.isEmpty, name.allSatisfy(isNameByte) else {
                throw TemplateFault("a name in braces is letters, digits and _")
            }
            return isRest ? .rest : .any
        }
        let dots = bytes.allSatisfy { $0 == UInt8(ascii: ".") } && bytes.count <= 2
        guard !dots, bytes.allSatisfy(PathBytes.isLiteral) else {
            throw TemplateFault("a literal segment holds letters, digits and -._~!$&'()*+,=:@ only")
        }
        return .literal(bytes)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        PathBytes.isUnreserved(byte) && byte != UInt8(ascii: "-") && byte != UInt8(ascii: ".")
            && byte != UInt8(ascii: "~")
    }
}

struct TemplateFault: Error {
    var message: String
    init(_ message: String) { self.message = message }
}

/// How two sets of requests lie to each other.
enum Overlap: Equatable {
    case disjoint
    case same
    /// The first lies within the second.
    case moreSpecific
    case lessSpecific
    /// They meet, and each has what the other has not.
    case crossing

    func and(_ other: Overlap) -> Overlap {
        switch (self, other) {
        case (.disjoint, _), (_, .disjoint): .disjoint
        case (.same, let x), (let x, .same): x
        case (.moreSpecific, .moreSpecific): .moreSpecific
        case (.lessSpecific, .lessSpecific): .lessSpecific
        default: .crossing
        }
    }
}

extension RouteTemplate {
    /// How the paths of two templates lie to each other.
    func compare(_ other: RouteTemplate) -> Overlap {
        var result = Overlap.same
        var index = 0
        while true {
            let a = index < segments.count ? segments[index] : nil
            let b = index < other.segments.count ? other.segments[index] : nil
            guard let a, let b else { return a == nil && b == nil ? result : .disjoint }
            switch (a, b) {
            case (.rest, .rest): return result
            // The rest takes in every longer path, so what goes on beside it is more specific.
            case (_, .rest): return result.and(.moreSpecific)
            case (.rest, _): return result.and(.lessSpecific)
            case (.any, .any): break
            case (.literal, .any): result = result.and(.moreSpecific)
            case (.any, .literal): result = result.and(.lessSpecific)
            case (.literal(let x), .literal(let y)):
                if x != y { return .disjoint }
            }
            index += 1
        }
    }
}
