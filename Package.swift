// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target: Swift 6 language mode (see the end) and no warning tolerated.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "tollgate",
    products: [
        .executable(name: "tollgated", targets: ["tollgated"]),
        .executable(name: "tollgate", targets: ["tollgate"]),
        .executable(name: "tollgate-bench", targets: ["tollgate-bench"]),
        .executable(name: "tollgate-floor", targets: ["tollgate-floor"]),
        .executable(name: "tollgate-http", targets: ["tollgate-http"]),
        .library(name: "TollgateClient", targets: ["TollgateClient"]),
    ],
    traits: [
        .trait(
            name: "HTTP",
            description: "tollgate-http, with SwiftNIO. Without it that target is an empty shell."),
        .default(enabledTraits: ["HTTP"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        // 0: formats; C
        .target(name: "CChecksum"),
        .target(name: "CLinux"),
        .target(name: "COpenSSL", linkerSettings: [.linkedLibrary("crypto")]),
        .target(name: "CSQLite", linkerSettings: [.linkedLibrary("sqlite3")]),
        .target(name: "CYAML", linkerSettings: [.linkedLibrary("yaml")]),
        .target(name: "CZstd", linkerSettings: [.linkedLibrary("zstd")]),
        .target(name: "TollgateWire", swiftSettings: strict),
        // 1: the decision, no I/O
        .target(
            name: "TollgateCore", dependencies: ["TollgateWire", "CChecksum", "COpenSSL"],
            swiftSettings: strict),
        // 2: durable state; configuration
        .target(
            name: "TollgateStorage",
            dependencies: [
                "TollgateCore", "TollgateWire", "CChecksum", "CLinux", "COpenSSL", "CSQLite",
                "CZstd",
            ],
            swiftSettings: strict),
        .target(
            name: "TollgatePolicy",
            dependencies: ["TollgateCore", "TollgateWire", "CYAML", "COpenSSL"],
            swiftSettings: strict),
        // 3: sockets
        .target(
            name: "TollgateServer",
            dependencies: [
                "TollgateStorage", "TollgateCore", "TollgateWire", "CLinux", "COpenSSL",
            ],
            swiftSettings: strict),
        .target(
            name: "TollgateClient", dependencies: ["TollgateWire", "CLinux"],
            swiftSettings: strict),
        // 4: executables
        .executableTarget(
            name: "tollgate",
            dependencies: [
                "TollgateClient", "TollgateStorage", "TollgatePolicy", "TollgateCore",
                "TollgateWire", "COpenSSL", "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "tollgated",
            dependencies: [
                "TollgateServer", "TollgateStorage", "TollgatePolicy", "TollgateCore", "CLinux",
                "COpenSSL",
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "tollgate-http",
            dependencies: [
                "TollgateClient", "TollgateWire", "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(
                    name: "NIOCore", package: "swift-nio", condition: .when(traits: ["HTTP"])),
                .product(
                    name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["HTTP"])),
                .product(
                    name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["HTTP"])),
            ], swiftSettings: strict),
        .executableTarget(
            name: "tollgate-bench",
            dependencies: [
                "TollgateClient", "TollgateStorage", "TollgateCore", "TollgateWire", "CLinux",
                "COpenSSL",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ], swiftSettings: strict),
        .executableTarget(name: "tollgate-floor", dependencies: ["COpenSSL"]),
        // Tests
        .testTarget(
            name: "TollgateClientTests",
            dependencies: [
                "TollgateClient", "TollgateServer", "TollgateCore", "TollgateWire", "CLinux",
            ], swiftSettings: strict),
        .testTarget(
            name: "TollgatePolicyTests",
            dependencies: ["TollgatePolicy", "TollgateCore", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "TollgateStorageTests",
            dependencies: [
                "TollgateStorage", "TollgateCore", "TollgateWire", "CSQLite", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "TollgateServerTests",
            dependencies: [
                "TollgateServer", "TollgateStorage", "TollgateCore", "TollgateWire", "CLinux",
                "CSQLite", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "SimulationTests",
            dependencies: ["TollgateStorage", "TollgateCore", "TollgateWire", "TestSupport"],
            swiftSettings: strict),
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        .target(name: "CAllocationCount", path: "Tests/CAllocationCount"),
        // Run under callgrind by Tests/python/test_tokens_timing.py.
        .executableTarget(
            name: "token-timing", dependencies: ["TollgateCore", "TollgateWire"],
            path: "Tests/TokenTiming", swiftSettings: strict),
        // Kills daemons; run by Tests/python/test_ledger_kill.py.
        .executableTarget(
            name: "ledger-kills",
            dependencies: [
                "TollgateClient", "TollgateCore", "TollgateWire", "CLinux", "TestSupport",
            ],
            path: "Tests/LedgerKills", swiftSettings: strict),
        .testTarget(
            name: "TollgateWireTests", dependencies: ["TollgateWire"], swiftSettings: strict),
        .testTarget(
            name: "TollgateCoreTests",
            dependencies: [
                "TollgateCore", "TollgateWire", "CChecksum", "CAllocationCount", "TestSupport",
            ],
            swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c11
)

/// `TOLLGATE_TARGETS` names targets: they and what they depend on are the whole package, so that
/// Deploy/test and Deploy/mutants build no more than their tests need.
if let named = Context.environment["TOLLGATE_TARGETS"] {
    let wanted = Set(named.split(separator: " ").map(String.init))
    let unknown = wanted.subtracting(package.targets.map(\.name)).sorted()
    precondition(unknown.isEmpty, "TOLLGATE_TARGETS: no target is called \(unknown)")
    var (kept, products, looking): (Set<String>, Bool, Set<String>) = ([], false, wanted)
    while !looking.isEmpty {
        kept.formUnion(looking)
        let dependencies = package.targets.filter { looking.contains($0.name) }
            .flatMap(\.dependencies)
        looking = []
        for case .byNameItem(let name, _) in dependencies where !kept.contains(name) {
            looking.insert(name)
        }
        for case .productItem in dependencies { products = true }
    }
    package.targets.removeAll { !kept.contains($0.name) }
    package.products.removeAll { product in
        !package.targets.contains { $0.name == product.name }
    }
    if !products { package.dependencies.removeAll() }
}

/// `TOLLGATE_CORE_TESTS` names files of TollgateCoreTests: the others are left out, so that a part
/// of Deploy/test that runs a few of its tests compiles no others.
if let named = Context.environment["TOLLGATE_CORE_TESTS"] {
    for target in package.targets where target.name == "TollgateCoreTests" {
        target.sources = named.split(separator: " ").map(String.init)
    }
}
