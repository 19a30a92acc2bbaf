package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// usePostgreSQL starts a PostgreSQL for the deployment. A helper program of its own does it, since
// what it links would make the start of the ceiling, which is this program, slower than a bare
// handler's. It runs on the generator's cores: in production the database is another machine.
func (d *deployment) usePostgreSQL(ctx context.Context) error {
	if d.b.postgresql != nil {
		return fmt.Errorf("there is one deployment on PostgreSQL")
	}
	d.b.progress("start PostgreSQL")
	helper, err := d.b.build(ctx, "postgresql", "./test/bench/postgresql")
	if err != nil {
		return err
	}
	p := newProcess(helper)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.start(d.b.cores.generator, d.b.cores.generator); err != nil {
		return err
	}
	d.b.postgresql = p
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w: %s", err, p.log.String())
	}
	d.url = strings.TrimSpace(line)
	return nil
}
