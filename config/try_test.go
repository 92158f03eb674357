package config_test
import ("testing";"os";"fmt";"github.com/stshost/stshost/config")
func TestTry(t *testing.T){
 p:=os.Getenv("TRY"); if p=="" {t.Skip()}
 prov:=map[string][]config.Setting{"cloudflare":{{Key:"api_token",Required:true,Secret:true}},"rfc2136":{{Key:"server",Required:true},{Key:"key_name",Required:true},{Key:"key_secret",Required:true,Secret:true}}}
 c,err:=config.Load(p,config.Options{Providers:prov,Getenv:func(string)string{return ""}})
 fmt.Println(err)
 if c!=nil { fmt.Printf("%+v\n",c) }
}
