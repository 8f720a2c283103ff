#if HTTP
HTTPCommand.main()
#else
import Glibc

// Where others are built and tested, SwiftNIO is not: swift build --disable-default-traits.
let text = Array(
    """
    tollgate-http: this one was built without HTTP (--disable-default-traits), and serves nothing
      build it again without that: swift build -c release --product tollgate-http

    """.utf8)
// There is nobody left to tell where that fails.
_ = text.withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
exit(69)
#endif
