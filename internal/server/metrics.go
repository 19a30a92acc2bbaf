package server

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"strongroom/internal/ballast"
)

// metrics are the server's figures. Labels are faces, declared operations and statuses: never
// the name of a vault, a secret or a caller.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	commits  *prometheus.CounterVec
	jobs     prometheus.Histogram
	records  prometheus.Histogram
	took     prometheus.Histogram
	tampered prometheus.Counter
	scrubs   prometheus.Counter
	waiting  func() int   // set before the first scrape
	failing  atomic.Int64 // commits that have failed since the last that did not
	series   sync.Map     // seriesKey → series, so that labels are not looked up for each request
}

// A seriesKey names the figures of requests: a declared operation, or Unknown, and its status.
type seriesKey struct {
	face, operation string
	status          int
}

type series struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

// watchBallast adds the figures of the disk; folder is the database's.
func (m *metrics) watchBallast(b *ballast.Ballast, folder string) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "strongroom_ballast_bytes", Help: "What the ballast holds for a full disk; 0 while it is given up, and changes are refused.",
		}, func() float64 { return float64(b.Bytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "strongroom_disk_free_bytes", Help: "What is free on the disk of the database.",
		}, func() float64 {
			free, err := ballast.Free(folder)
			if err != nil {
				return math.NaN()
			}
			return float64(free)
		}))
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		waiting:  func() int { return 0 },
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "strongroom_requests_total", Help: "Requests by face, operation and HTTP status.",
		}, []string{"face", "operation", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "strongroom_request_duration_seconds", Help: "Time from the arrival of a request to its complete answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"face", "operation"}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "strongroom_database_commits_total", Help: "Commits by outcome.",
		}, []string{"outcome"}),
		jobs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "strongroom_database_commit_jobs", Help: "Writes and entries that shared a commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		records: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "strongroom_audit_commit_entries", Help: "Audit entries in a commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		tampered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "strongroom_tampering_total", Help: "Times that stored data was found to be changed by somebody else.",
		}),
		scrubs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "strongroom_scrubs_total", Help: "Times that everything stored was looked at for changes by somebody else.",
		}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "strongroom_database_commit_duration_seconds", Help: "Time of a commit, from its begin until it is durable.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}),
	}
	queue := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "strongroom_audit_queue", Help: "Writes and audit entries that wait for a commit.",
	}, func() float64 { return float64(m.waiting()) })
	m.registry.MustRegister(m.requests, m.latency, m.commits, m.jobs, m.records, m.took, m.tampered, m.scrubs, queue,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// request is the pipeline's Observe.
func (m *metrics) request(face, operation string, status int, took time.Duration) {
	key := seriesKey{face, operation, status}
	s, ok := m.series.Load(key)
	if !ok {
		s, _ = m.series.LoadOrStore(key, series{
			m.requests.WithLabelValues(face, operation, strconv.Itoa(status)), m.latency.WithLabelValues(face, operation),
		})
	}
	found := s.(series)
	found.requests.Inc()
	found.latency.Observe(took.Seconds())
}

// commit counts a commit.
func (m *metrics) commit(jobs, records int, took time.Duration, err error) {
	outcome := "stored"
	if err != nil {
		outcome = "failed"
		m.failing.Add(1)
	} else {
		m.failing.Store(0)
	}
	m.commits.WithLabelValues(outcome).Inc()
	m.jobs.Observe(float64(jobs))
	m.records.Observe(float64(records))
	m.took.Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
