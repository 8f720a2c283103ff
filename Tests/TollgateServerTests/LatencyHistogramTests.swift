import Testing

@testable import TollgateServer

@Suite struct LatencyHistogramTests {
    @Test func aBucketHoldsWhatTookAsLongAsItsBoundAndNotMore() {
        for index in 0..<LatencyHistogram.boundCount {
            let bound = LatencyHistogram.bound(index) * 1_000
            #expect(LatencyHistogram.bucket(nanoseconds: bound) == index)
            #expect(LatencyHistogram.bucket(nanoseconds: bound + 1) == index + 1)
        }
        #expect(LatencyHistogram.bucket(nanoseconds: 0) == 0)
        #expect(LatencyHistogram.bucket(nanoseconds: .max) == LatencyHistogram.boundCount)
    }

    @Test func framesAndTheirTimesAreSummed() {
        let histogram = LatencyHistogram()
        histogram.add(nanoseconds: 900, frames: 3)
        histogram.add(nanoseconds: 3_500, frames: 2)
        histogram.add(nanoseconds: 5_000_000_000, frames: 1)
        let values = histogram.values
        #expect(values[0] == 3 && values[2] == 2)
        #expect(values[LatencyHistogram.boundCount] == 1)
        #expect(values.last == 2_700 + 7_000 + 5_000_000_000)
    }
}
