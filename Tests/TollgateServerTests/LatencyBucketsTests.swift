import Testing

@testable import TollgateServer

@Suite struct LatencyBucketsTests {
    @Test func aBucketHoldsWhatTookAsLongAsItsBoundAndNotMore() {
        for index in 0..<LatencyBuckets.boundCount {
            let bound = LatencyBuckets.bound(index) * 1_000
            #expect(LatencyBuckets.bucket(nanoseconds: bound) == index)
            #expect(LatencyBuckets.bucket(nanoseconds: bound + 1) == index + 1)
        }
        #expect(LatencyBuckets.bucket(nanoseconds: 0) == 0)
        #expect(LatencyBuckets.bucket(nanoseconds: .max) == LatencyBuckets.boundCount)
    }

    @Test func framesAndTheirTimesAreSummed() {
        let histogram = LatencyBuckets()
        histogram.add(nanoseconds: 900, frames: 3)
        histogram.add(nanoseconds: 3_500, frames: 2)
        histogram.add(nanoseconds: 5_000_000_000, frames: 1)
        let values = histogram.values
        #expect(values[0] == 3 && values[2] == 2)
        #expect(values[LatencyBuckets.boundCount] == 1)
        #expect(values[LatencyBuckets.boundCount + 1] == 2_700 + 7_000 + 5_000_000_000)
    }
}
