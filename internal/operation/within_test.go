package operation

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Within has to be as context.WithTimeout is, whose package says what each method answers.
func TestWithin(t *testing.T) {
	type key struct{}
	type step func(t *testing.T, c context.Context, cancel, cancelParent context.CancelFunc)
	wait := func(t *testing.T, c context.Context, _, _ context.CancelFunc) {
		t.Helper()
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
	}
	cancel := func(_ *testing.T, _ context.Context, cancel, _ context.CancelFunc) { cancel() }
	cancelParent := func(_ *testing.T, _ context.Context, _, cancel context.CancelFunc) { cancel() }
	begin := func(_ *testing.T, c context.Context, _, _ context.CancelFunc) { c.Done() }
	for name, tt := range map[string]struct {
		in    time.Duration
		steps []step
		want  error
	}{
		"nothing yet":              {time.Hour, nil, nil},
		"waited for":               {time.Hour, []step{begin}, nil},
		"over":                     {0, nil, context.DeadlineExceeded},
		"over while waited for":    {20 * time.Millisecond, []step{wait}, context.DeadlineExceeded},
		"cancelled":                {time.Hour, []step{cancel}, context.Canceled},
		"cancelled, then waited":   {time.Hour, []step{cancel, wait}, context.Canceled},
		"waited, then cancelled":   {time.Hour, []step{begin, cancel, wait}, context.Canceled},
		"parent cancelled":         {time.Hour, []step{cancelParent}, context.Canceled},
		"parent cancelled, waited": {time.Hour, []step{begin, cancelParent, wait}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			parent, stop := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
			defer stop()
			c, end := Within(parent, tt.in)
			defer end()
			for _, s := range tt.steps {
				s(t, c, end, stop)
			}
			if err := c.Err(); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Errorf("Err() = %v, want %v", err, tt.want)
			}
			if c.Value(key{}) != "value" {
				t.Error("a value of the parent is lost")
			}
			child, endChild := context.WithCancel(c)
			defer endChild()
			if tt.want != nil {
				wait(t, child, nil, nil)
			}
		})
	}
}

func TestWithinKeepsAnEarlierDeadline(t *testing.T) {
	parent, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	c, end := Within(parent, time.Hour)
	defer end()
	want, _ := parent.Deadline()
	if got, ok := c.Deadline(); !ok || !got.Equal(want) {
		t.Errorf("deadline %v, want the parent's %v", got, want)
	}
}
