/// An alert in one line, for people.
extension Alert {
    package var text: String {
        switch kind {
        case .quotaThreshold:
            "\(who): \(threshold) % of quota \(subject.quota) used: \(value) of \(limit)"
                + inShadow
        case .quotaExhaustedEarly:
            "\(who): quota \(subject.quota) (\(limit)) \(subject.isShadow ? "would be" : "is") gone"
                + " before \(threshold) % of its period has passed" + inShadow
        case .quotaForecast:
            "\(who): quota \(subject.quota) \(subject.isShadow ? "would" : "will") be gone before"
                + " its period ends: \(value) of \(limit) used" + inShadow
        case .invalidCredentials:
            "\(value) invalid credentials"
                + (subject.address.isEmpty ? "" : " from \(subject.address)")
                + (subject.key.isEmpty ? "" : " for API key \(subject.key)")
        case .refreshReuse:
            "\(who): a refresh token was used again after its successor; its session is ended"
        case .keyNetworks:
            "\(who): API key \(subject.key) was used from \(value) networks today"
        case .suddenRise:
            "\(who): \(value) requests within the hour; its busiest in a week was \(limit)"
        case .costlyOperation:
            "\(who): first \(value < threshold ? "" : "costly ")use of operation"
                + " \(subject.operation)\(value < threshold ? ", which its rule names" : ""):"
                + " \(value) micro-units"
        case .daemonTrouble: "\(subject.trouble): \(words)"
        case .test: words
        }
    }

    private var inShadow: String {
        subject.isShadow ? "; it is in shadow and refuses nobody" : ""
    }

    private var who: String {
        let tenant = subject.isPersonal ? "user " : "organization "
        return tenant + subject.organization
            + (subject.user.isEmpty || subject.isPersonal ? "" : ", user \(subject.user)")
    }
}
