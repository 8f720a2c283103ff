#if HTTP
HTTPCommand.main()
#else
// Where others are built and tested, SwiftNIO is not: swift build --disable-default-traits.
fatalError("tollgate-http was built without the trait HTTP; leave out --disable-default-traits")
#endif
