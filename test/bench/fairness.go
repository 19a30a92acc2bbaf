package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// fairnessMost is how much longer a caller's p99 may be beside one with rivals connections than alone.
const (
	fairnessMost = 1.5
	rivals       = 50
)

// rivalCommand makes this program the other caller.
const rivalCommand = "rival"

// A rivalry is what the other caller is told, in a file: who he is, and where he asks.
type rivalry struct {
	Address, Host, Token, CA string
	Secrets                  int
}

// measureFairness measures a caller with one connection alone, and beside another who asks as fast as he
// can over many, from a process of his own that leaves the generator's core to the one that is measured.
func measureFairness(ctx context.Context, b *bench, r row) ([]line, error) {
	ours, stop, err := b.serve(ctx, r.at, r.load)
	if err != nil {
		return nil, err
	}
	defer stop()
	d, err := b.deployment(ctx, r.at)
	if err != nil {
		return nil, err
	}
	told, err := d.tellRival(ctx, ours)
	if err != nil {
		return nil, err
	}
	duration := max(b.duration, time.Second) // a p99 takes some answers
	rounds := make([]round, 0, b.rounds)
	for n := range b.rounds {
		b.progress("%s: round %d of %d", r.work, n+1, b.rounds)
		var one round
		if one.base, err = ours.measure(ctx, 1, duration); err != nil {
			return nil, fmt.Errorf("alone: %w", err)
		}
		if one.ours, err = b.measureBeside(ctx, told, ours, duration); err != nil {
			return nil, fmt.Errorf("beside another: %w", err)
		}
		rounds = append(rounds, one)
	}
	return []line{fairness(r, rounds)}, nil
}

func fairness(r row, rounds []round) line {
	b, o := summary(rounds, base), summary(rounds, ours)
	return line{
		work: r.work + ": p99", measured: millis(o.p99) + " ms", against: "alone " + millis(b.p99) + " ms",
		ratio:  over(rounds, func(r round) float64 { return ratio(float64(r.ours.p99), float64(r.base.p99)) }),
		target: atMost(fairnessMost), latency: fmt.Sprintf("%s / %s (%s / %s)", millis(o.p50), millis(o.p99), millis(b.p50), millis(b.p99)),
	}
}

// tellRival writes the file for the other caller, who signs in as himself.
func (d *deployment) tellRival(ctx context.Context, t *target) (file string, err error) {
	told := rivalry{Address: t.address, Host: t.host, CA: filepath.Join(d.dir, "data", "ca.pem"), Secrets: d.state.Secrets}
	if told.Token, err = d.signIn(ctx, d.state.Rival); err != nil {
		return "", err
	}
	text, err := json.Marshal(told)
	if err != nil {
		return "", err
	}
	file = filepath.Join(d.b.scratch, "rival.json")
	return file, os.WriteFile(file, text, 0o600)
}

// measureBeside measures while the other caller is at work.
func (b *bench) measureBeside(ctx context.Context, told string, t *target, duration time.Duration) (sample, error) {
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	p := newProcess(self, rivalCommand, told, strconv.Itoa(rivals))
	if err := p.start(b.cores.generator, b.cores.generator); err != nil {
		return sample{}, err
	}
	defer p.stop()
	pause(ctx, 300*time.Millisecond) // until his connections are open
	s, err := t.measure(ctx, 1, duration)
	select {
	case <-p.ended:
		return sample{}, fmt.Errorf("the other caller ended: %s", p.log.String())
	default:
		return s, err
	}
}

// rival asks over many connections until its standard input ends.
func rival(args []string) error {
	if len(args) != 2 {
		return errors.New("want a file and a number of connections")
	}
	var told rivalry
	if err := readTold(args[0], &told); err != nil {
		return err
	}
	ca, err := os.ReadFile(told.CA)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if err := giveWay(); err != nil {
		return fmt.Errorf("give way to the caller that is measured: %w", err)
	}
	t := &target{endpoint: endpoint{address: told.Address, host: told.Host, token: told.Token}}
	if t.tls, err = trust(ca, vaultName+".vault.localhost"); err != nil {
		return err
	}
	if t.load, err = hotReads(t, told.Secrets); err != nil {
		return err
	}
	_, err = t.measure(context.Background(), n, time.Hour)
	return err
}
